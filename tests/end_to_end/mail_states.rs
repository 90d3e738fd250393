//! What becomes of a mail when its server or its sender fails, in each phase: again, refused, unknown, once more, left.

use holdfast_tests::{
    eventually,
    smtp::{Manner, Phase, SmtpServer},
};

use crate::mail::MailingShop;

const SENT: &str = "select count(*) from mail.mails where state = 'sent'";
const UNKNOWN: &str = "select count(*) from mail.mails where state = 'unknown'";
const REFUSED: &str = "select count(*) from mail.mails where state = 'refused'";
const SENDING: &str = "select count(*) from mail.mails where state = 'sending'";

/// Times that are over soon: from connecting to the end of the text, and to the answer.
const SOON: [(&str, &str); 2] = [("BEGIN_MS", "700"), ("ANSWER_MS", "700")];

async fn shop(manners: &[Manner], settings: &[(&str, &str)]) -> MailingShop {
    let smtp = SmtpServer::start().await.unwrap();
    smtp.behave(manners.iter().copied());
    MailingShop::open(1, smtp, settings).await
}

#[tokio::test]
async fn a_mail_that_is_put_off_or_cut_off_before_its_end_in_any_phase_is_sent_later_and_once() {
    let put_off = Phase::ALL.map(|phase| Manner::Says(phase, 421));
    let cut_off = Phase::ALL.into_iter().filter(|phase| *phase != Phase::Text).map(Manner::Closes);
    let manners: Vec<Manner> = put_off.into_iter().chain(cut_off).collect();
    let shop = shop(&manners, &[]).await;
    shop.sell(1, "ann@mail.example").await;
    shop.fleet.until(SENT, 1).await.unwrap();
    assert_eq!(shop.smtp.received().len(), 1);
    assert_eq!(shop.smtp.conversations(), manners.len() + 1);
}

#[tokio::test]
async fn a_server_that_says_nothing_in_time_gets_the_mail_later_and_once() {
    let manners = [Phase::Greeting, Phase::To, Phase::Data].map(Manner::Waits);
    let shop = shop(&manners, &SOON).await;
    shop.sell(1, "ann@mail.example").await;
    shop.fleet.until(SENT, 1).await.unwrap();
    assert_eq!(shop.smtp.received().len(), 1);
}

#[tokio::test]
async fn a_mail_that_the_server_refuses_is_over_and_listed_unless_it_refuses_all() {
    // What a server says before it has heard of the mail is not about the mail.
    let of_server = [Manner::Says(Phase::Greeting, 554), Manner::Says(Phase::Hello, 550)];
    let of_mail = [Phase::From, Phase::To, Phase::Data, Phase::Text].map(|phase| Manner::Says(phase, 550));
    for (number, manner) in (1..).zip(of_mail) {
        let shop = shop(&[of_server.as_slice(), &[manner]].concat(), &[]).await;
        let order = shop.sell(number, "ann@mail.example").await;
        shop.fleet.until(REFUSED, 1).await.unwrap();
        let listed = shop.list("refused").await;
        assert_eq!(listed[0]["order_id"], order.id.to_string());
        assert!(listed[0]["reply"].as_str().unwrap().contains("550"), "{listed:?}");
        assert_eq!((shop.smtp.received().len(), shop.smtp.conversations()), (0, 3));
    }
}

#[tokio::test]
async fn a_mail_that_is_put_off_for_too_long_is_given_up() {
    let manners = vec![Manner::Says(Phase::Greeting, 421); 10_000];
    let shop = shop(&manners, &[("GIVE_UP_MS", "300")]).await;
    shop.sell(1, "ann@mail.example").await;
    shop.fleet.until(REFUSED, 1).await.unwrap();
    let listed = shop.list("refused").await;
    assert!(listed[0]["reply"].as_str().unwrap().starts_with("given up after"), "{listed:?}");
}

#[tokio::test]
async fn a_mail_of_which_nobody_knows_is_sent_once_more_in_the_same_bytes() {
    for manner in [Manner::Closes(Phase::Text), Manner::Waits(Phase::Text)] {
        let shop = shop(&[manner], &SOON).await;
        shop.sell(1, "ann@mail.example").await;
        shop.fleet.until(SENT, 1).await.unwrap();
        let received = shop.smtp.received();
        assert_eq!(received.len(), 2);
        assert_eq!(received.first(), received.last());
        assert_eq!(shop.fleet.number("select unknowns::int8 from mail.mails").await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_mail_of_which_nobody_knows_twice_is_left() {
    let shop = shop(&[Manner::Closes(Phase::Text), Manner::Closes(Phase::Text)], &[]).await;
    shop.sell(1, "ann@mail.example").await;
    shop.fleet.until("select count(*) from mail.mails where unknowns = 2 and due_at is null", 1).await.unwrap();
    assert_eq!(shop.list("unknown").await.len(), 1);
    // One that comes later is sent, and this one is not.
    shop.sell(2, "bob@mail.example").await;
    shop.fleet.until(SENT, 1).await.unwrap();
    assert_eq!(shop.smtp.received().len(), 3);
}

#[tokio::test]
async fn a_mail_of_which_nobody_knows_is_left_if_the_shop_says_so_and_sent_again_by_hand() {
    let shop = shop(&[Manner::Closes(Phase::Text)], &[("UNKNOWN", "leave")]).await;
    shop.sell(1, "ann@mail.example").await;
    shop.fleet.until(UNKNOWN, 1).await.unwrap();
    shop.sell(2, "bob@mail.example").await;
    shop.fleet.until(SENT, 1).await.unwrap();
    let left = shop.list("unknown").await;
    assert_eq!((left.len(), left[0]["due_at"].is_null()), (1, true), "{left:?}");
    assert_eq!(shop.smtp.received().len(), 2);
    let mail = left[0]["mail_id"].as_str().unwrap();
    let (exit, said) = shop.fleet.command(&["mail", "resend", mail, "--reason", "he has none"]).await.unwrap();
    assert_eq!(exit, Some(0), "{said}");
    shop.fleet.until(SENT, 2).await.unwrap();
    let received = shop.smtp.received();
    assert_eq!(received.first(), received.last(), "the same bytes");
}

/// Killed while its server says nothing in this phase: whether it had the mail by then or not, nobody can know.
#[tokio::test]
async fn a_sender_that_is_killed_in_any_phase_leaves_a_mail_of_which_nobody_knows_and_another_sends_it_once_more() {
    for (phase, copies) in [(Phase::Greeting, 1), (Phase::To, 1), (Phase::Data, 1), (Phase::Text, 2)] {
        let shop = shop(&[Manner::Waits(phase)], &[("BEGIN_MS", "1500"), ("ANSWER_MS", "1500")]).await;
        shop.sell(1, "ann@mail.example").await;
        eventually("the server waits", || async { Ok(shop.smtp.waiting() == 1) }).await.unwrap();
        shop.kill(0).await;
        assert_eq!(shop.fleet.number(SENDING).await.unwrap(), 1);
        shop.start(1).await;
        shop.fleet.until(SENT, 1).await.unwrap();
        let received = shop.smtp.received();
        assert_eq!(received.len(), copies, "{phase:?}");
        assert_eq!(received.first(), received.last(), "{phase:?}");
        assert_eq!(shop.fleet.number("select unknowns::int8 from mail.mails").await.unwrap(), 1);
    }
}

/// The server has said yes, and nobody could note it.
#[tokio::test]
async fn a_sender_that_is_killed_after_the_answer_and_before_it_is_noted_sends_none_if_the_shop_says_so() {
    let settings = [("BEGIN_MS", "1500"), ("ANSWER_MS", "1500"), ("UNKNOWN", "leave")];
    let shop = shop(&[Manner::Waits(Phase::Text)], &settings).await;
    shop.sell(1, "ann@mail.example").await;
    eventually("the server waits", || async { Ok(shop.smtp.waiting() == 1) }).await.unwrap();
    let mut database = shop.fleet.database().await.unwrap();
    sqlx::raw_sql("begin; select * from mail.mails for update").execute(&mut database).await.unwrap();
    shop.smtp.go_on();
    // It has heard the answer, and waits for the row.
    let waits =
        "select count(*) from pg_stat_activity where application_name = 'holdfast-mail' and wait_event_type = 'Lock'";
    shop.fleet.until_at_least(waits, 1).await.unwrap();
    shop.kill(0).await;
    sqlx::raw_sql("rollback").execute(&mut database).await.unwrap();
    // What the killed process had asked for may still be done.
    shop.start(1).await;
    let ended = "select count(*) from mail.mails where state in ('sent', 'unknown') and due_at is null";
    shop.fleet.until(ended, 1).await.unwrap();
    assert_eq!(shop.smtp.received().len(), 1);
}

#[tokio::test]
async fn a_sender_that_is_asked_to_stop_before_the_text_lets_another_send_at_once() {
    let shop = shop(&[Manner::Waits(Phase::To)], &[]).await;
    shop.sell(1, "ann@mail.example").await;
    eventually("the server waits", || async { Ok(shop.smtp.waiting() == 1) }).await.unwrap();
    assert_eq!(shop.fleet.processes().await.stop_worker("mail", 0).await.unwrap(), Some(0));
    assert_eq!(shop.fleet.number("select unknowns::int8 from mail.mails").await.unwrap(), 0);
    shop.start(1).await;
    shop.fleet.until(SENT, 1).await.unwrap();
    assert_eq!(shop.smtp.received().len(), 1);
}

#[tokio::test]
async fn what_was_taken_in_and_not_queued_when_a_process_ended_comes_again() {
    let shop = shop(&[], &[]).await;
    // No row gets in: the process has the event, and cannot keep it.
    let mut database = shop.fleet.database().await.unwrap();
    sqlx::raw_sql("begin; lock table mail.mails in share mode").execute(&mut database).await.unwrap();
    shop.sell(1, "ann@mail.example").await;
    let waits =
        "select count(*) from pg_stat_activity where application_name = 'holdfast-mail' and query like 'insert%'
        and wait_event_type = 'Lock'";
    shop.fleet.until_at_least(waits, 1).await.unwrap();
    shop.kill(0).await;
    sqlx::raw_sql("rollback").execute(&mut database).await.unwrap();
    shop.start(1).await;
    shop.fleet.until(SENT, 1).await.unwrap();
    assert_eq!(shop.smtp.received().len(), 1);
}
