//! A server for mail that tests make misbehave: it puts off or refuses at each phase, says nothing, or takes a mail and does not say so.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, tcp::OwnedWriteHalf},
    sync::watch,
};

/// Where a conversation stands when the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It greets.
    Greeting,
    /// The client has said hello.
    Hello,
    /// Who the mail is from.
    From,
    /// Whom it is to.
    To,
    /// The client wants to send the text.
    Data,
    /// The text has ended.
    Text,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [Self::Greeting, Self::Hello, Self::From, Self::To, Self::Data, Self::Text];
}

/// What the server does in one conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// In this phase it answers with this code, 421 or 550, and closes.
    Says(Phase, u16),
    /// In this phase it says nothing until it is told to go on, and then what it would have said. What it was told before, it has.
    Waits(Phase),
    /// In this phase it closes without a word. What it was told before, it has.
    Closes(Phase),
}

/// A mail that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipient.
    pub to: String,
    /// Every byte between `DATA` and the last dot.
    pub text: String,
}

#[derive(Debug, Default)]
struct Inbox {
    manners: VecDeque<Manner>,
    received: Vec<Received>,
    conversations: usize,
    /// How often it has come to the point where it waits.
    waiting: usize,
    /// Parameters of `MAIL FROM`.
    parameters: Vec<String>,
}

/// The server.
#[derive(Debug)]
pub struct SmtpServer {
    /// Its port on 127.0.0.1.
    pub port: u16,
    inbox: Arc<Mutex<Inbox>>,
    go_on: watch::Sender<usize>,
}

impl SmtpServer {
    /// Starts one that takes every mail.
    pub async fn start() -> Result<Self> {
        Self::with("250-8BITMIME\r\n250 SMTPUTF8\r\n").await
    }

    /// Starts one that knows no letters but ASCII's in addresses.
    pub async fn of_old() -> Result<Self> {
        Self::with("250 8BITMIME\r\n").await
    }

    async fn with(extensions: &'static str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let (go_on, told) = watch::channel(0);
        let server = Self { port, inbox: Arc::clone(&inbox), go_on };
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let manner = {
                    let mut inbox = lock(&inbox);
                    inbox.conversations += 1;
                    inbox.manners.pop_front()
                };
                let conversation = Conversation { manner, extensions, inbox: Arc::clone(&inbox), told: told.clone() };
                // Whoever closes ends it.
                tokio::spawn(async move { conversation.hold(socket).await.ok() });
            }
        });
        Ok(server)
    }

    /// How it behaves in the next conversations, one each; then it takes what comes.
    pub fn behave(&self, manners: impl IntoIterator<Item = Manner>) {
        lock(&self.inbox).manners.extend(manners);
    }

    /// Goes on wherever it waits.
    pub fn go_on(&self) {
        self.go_on.send_modify(|times| *times += 1);
    }

    /// The mails that it has, whether or not it has said so.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        lock(&self.inbox).received.clone()
    }

    /// How many conversations there were.
    #[must_use]
    pub fn conversations(&self) -> usize {
        lock(&self.inbox).conversations
    }

    /// How often it has begun to wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.inbox).waiting
    }

    /// What was said beside each sender.
    #[must_use]
    pub fn parameters(&self) -> Vec<String> {
        lock(&self.inbox).parameters.clone()
    }
}

fn lock(inbox: &Mutex<Inbox>) -> std::sync::MutexGuard<'_, Inbox> {
    inbox.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Conversation {
    manner: Option<Manner>,
    extensions: &'static str,
    inbox: Arc<Mutex<Inbox>>,
    told: watch::Receiver<usize>,
}

impl Conversation {
    async fn hold(mut self, socket: TcpStream) -> Result<()> {
        let (reader, mut writer) = socket.into_split();
        let mut lines = BufReader::new(reader).lines();
        let (mut from, mut to) = (String::new(), String::new());
        if !self.answer(&mut writer, Phase::Greeting, "220 tests\r\n").await? {
            return Ok(());
        }
        while let Some(line) = lines.next_line().await? {
            let (phase, answer) = match line.split([' ', ':']).next().unwrap_or_default() {
                "EHLO" => (Phase::Hello, format!("250-tests\r\n{}", self.extensions)),
                "MAIL" => {
                    let (address, parameters) = line.split_once("> ").unwrap_or((&line, ""));
                    from = address.to_owned();
                    lock(&self.inbox).parameters.push(parameters.to_owned());
                    (Phase::From, "250 fine\r\n".to_owned())
                }
                "RCPT" => {
                    to.clone_from(&line);
                    (Phase::To, "250 fine\r\n".to_owned())
                }
                "DATA" => (Phase::Data, "354 go on\r\n".to_owned()),
                _ => {
                    writer.write_all(b"221 good-bye\r\n").await?;
                    return Ok(());
                }
            };
            if !self.answer(&mut writer, phase, &answer).await? {
                return Ok(());
            }
            if phase == Phase::Data {
                let mut text = String::new();
                loop {
                    match lines.next_line().await? {
                        None => return Ok(()),
                        Some(line) if line == "." => break,
                        Some(line) => {
                            text.push_str(line.strip_prefix('.').unwrap_or(&line));
                            text.push_str("\r\n");
                        }
                    }
                }
                // One that it does not want it does not keep.
                if !matches!(self.manner, Some(Manner::Says(Phase::Text, _))) {
                    lock(&self.inbox).received.push(Received { from: from.clone(), to: to.clone(), text });
                }
                if !self.answer(&mut writer, Phase::Text, "250 taken as 7\r\n").await? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Answers as its manners are. False: the conversation is over.
    async fn answer(&mut self, writer: &mut OwnedWriteHalf, phase: Phase, answer: &str) -> Result<bool> {
        match self.manner {
            Some(Manner::Says(at, code)) if at == phase => {
                writer.write_all(format!("{code} not now\r\n").as_bytes()).await?;
                return Ok(false);
            }
            Some(Manner::Closes(at)) if at == phase => return Ok(false),
            Some(Manner::Waits(at)) if at == phase => {
                let before = *self.told.borrow_and_update();
                lock(&self.inbox).waiting += 1;
                self.told.wait_for(|times| *times > before).await?;
            }
            Some(Manner::Says(..) | Manner::Closes(_) | Manner::Waits(_)) | None => {}
        }
        writer.write_all(answer.as_bytes()).await?;
        Ok(true)
    }
}
