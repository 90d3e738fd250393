//! The events of an order, of all services: as a list, or as a stream that goes on while the caller listens.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{RawPathParams, RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use domain::{GlobalPosition, OrderId};
use futures::Stream;
use platform::{clock, database::Pool, shutdown::Shutdown};
use proto::{Name, orders::v1::OrderReinstated};
use runtime::log::event_store::{StoredEvent, read_end_of_stream, read_streams};
use serde::Serialize;
use serde_json::Value;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Gateway,
    caller::{Scope, authorize},
    commands::json_response,
    link, log,
    orders::unknown,
    problem::Problem,
    read::id,
    request::Query,
};

/// How soon to look again after news, and how late at most while there are none.
const LOOK_AFTER_NEWS: Duration = Duration::from_millis(250);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A stream ends after this time, so that replicas share the listeners anew; whoever goes on says what he has heard last.
const STREAM_MAX: Duration = Duration::from_mins(15);

/// What a listener is told to wait before he comes again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A line for whoever sits between, and would else close what is silent.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// `GET /v1/orders/{order_id}/events`
pub(crate) async fn events(
    State(gateway): State<Arc<Gateway>>,
    params: RawPathParams,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = Query::read(query.as_deref().unwrap_or_default(), &["after", "expires", "signature"])?;
    // Browsers cannot send a header: they come by a link.
    let by_link = query.get("expires").zip(query.get("signature"));
    if by_link.is_none() {
        authorize(&gateway, &headers, Scope::OrdersRead)?;
    }
    let order_id = id(&params, "order_id")?;
    if let Some((expires, signature)) = by_link {
        link::let_in(&gateway, order_id, expires, signature)?;
    }
    let after = after(&headers, &query)?.unwrap_or_default();
    let (published, events) = look(&gateway.pool, order_id).await?;
    begins_here(&gateway.pool, order_id, &events).await?;
    let is_by_link = by_link.is_some();
    let mut answer = told_of(&gateway, order_id, &headers, after, (published, events))?;
    if is_by_link {
        // A page of the shop may listen, wherever it is from: the link is the proof, and nothing else of the browser's is looked at.
        answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    Ok(answer)
}

/// That the first event of an order is there.
async fn begins_here(pool: &Pool, order_id: Uuid, events: &[StoredEvent]) -> Result<(), Problem> {
    const ARCHIVED: &str = "select exists (select from log.archived_parts())
        and exists (select from orders.orders where order_id = $1)";
    let stream = format!("order-{order_id}");
    if events.iter().any(|event| event.stream == stream && event.version.get() == 1) {
        return Ok(());
    }
    if sqlx::query_scalar(ARCHIVED).bind(order_id).fetch_one(pool).await? {
        let detail = "it was over long ago, and its events are archived: `holdfast timeline` with --archive has them";
        return Err(Problem::own("EVENTS_ARCHIVED", detail));
    }
    if events.is_empty() { Err(unknown(order_id)) } else { Ok(()) }
}

/// The events as they are now, or a stream of them that goes on.
fn told_of(
    gateway: &Gateway,
    order_id: Uuid,
    headers: &HeaderMap,
    after: GlobalPosition,
    (published, events): (GlobalPosition, Vec<StoredEvent>),
) -> Result<Response, Problem> {
    if wants_stream(headers) {
        return listen(gateway, Heard::Order(order_id), after, told(&events, after, published));
    }
    let events = events.iter().filter(|event| event.position > after);
    Ok(json_response(StatusCode::OK, &EventList::of(events, false)))
}

/// Whether the caller wants to go on listening.
pub(crate) fn wants_stream(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepts.contains("text/event-stream")
}

/// A stream of events after a position, which begins with those that wait already, if there is room for another listener.
pub(crate) fn listen(
    gateway: &Gateway,
    heard: Heard,
    after: GlobalPosition,
    waiting: VecDeque<StoredEvent>,
) -> Result<Response, Problem> {
    let room = Arc::clone(&gateway.listeners).try_acquire_owned();
    let room = room.map_err(|_full| Problem::own("OVERLOADED", "as many listen as may: come again"))?;
    let listener = Listener {
        pool: gateway.pool.clone(),
        shutdown: gateway.shutdown.clone(),
        heard,
        // Whoever hears nothing for a while knows all the same from where to go on.
        begins: matches!(heard, Heard::All).then_some(after),
        after: waiting.back().map_or(after, |event| event.position),
        waiting,
        wait: LOOK_AFTER_NEWS,
        _room: room,
        ends_at: Instant::now() + STREAM_MAX,
    };
    Ok(Sse::new(listener.stream()).keep_alive(KeepAlive::new().interval(ALIVE_EVERY)).into_response())
}

/// What the listener has heard already: `Last-Event-ID`, as browsers send it, or `?after=`. `None`: he does not say.
pub(crate) fn after(headers: &HeaderMap, query: &Query) -> Result<Option<GlobalPosition>, Problem> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::trim);
    let last = last.filter(|last| !last.is_empty()).map(|last| ("Last-Event-ID", last));
    let asked = last.or_else(|| query.get("after").map(|after| ("after", after)));
    let Some((name, text)) = asked else { return Ok(None) };
    let position = text.parse::<i64>().ok().filter(|position| *position >= 0);
    position.map(GlobalPosition::new).map(Some).ok_or_else(|| {
        Problem::own(
            "INVALID_PARAMETER",
            format!("{name} must be the id of an event, which is a position, not {text:?}"),
        )
        .of(name)
    })
}

/// Up to which position nothing can come any more, and what there is of the order.
///
/// A transaction that drew a position earlier may commit later. So a listener hears what the relay knows to be published: whoever comes
/// again with the last position that he has heard misses nothing.
async fn look(pool: &Pool, order_id: Uuid) -> Result<(GlobalPosition, Vec<StoredEvent>), sqlx::Error> {
    pool.answered(async {
        let mut connection = pool.session().await?;
        let published: i64 = sqlx::query_scalar("select published from log.relay").fetch_one(&mut *connection).await?;
        let mut attempts = 1;
        loop {
            let events = read_streams(&mut connection, &OrderId(order_id).streams(attempts)).await?;
            let reinstated = OrderReinstated::full_name();
            let known = 1 + events.iter().filter(|event| event.message_type == reinstated).count();
            if known <= attempts {
                return Ok((GlobalPosition::new(published), events));
            }
            attempts = known;
        }
    })
    .await
}

/// All that happened to an order, in order, and up to which position nothing can come any more.
///
/// # Errors
/// It is not known, or its events are archived.
pub(crate) async fn of_order(pool: &Pool, order_id: Uuid) -> Result<(GlobalPosition, Vec<StoredEvent>), Problem> {
    let (published, events) = look(pool, order_id).await?;
    begins_here(pool, order_id, &events).await?;
    Ok((published, events))
}

/// The last events of a stream, in order, and whether there are more before them.
///
/// # Errors
/// The log cannot be read.
pub(crate) async fn last_of_stream(
    pool: &Pool,
    stream: &str,
    limit: i64,
) -> Result<(Vec<StoredEvent>, bool), sqlx::Error> {
    let read = async {
        let mut connection = pool.session().await?;
        read_end_of_stream(&mut connection, stream, limit + 1).await
    };
    let mut events = pool.answered(read).await?;
    let most = usize::try_from(limit).unwrap_or_default();
    let more = events.len().saturating_sub(most);
    Ok((events.split_off(more), more > 0))
}

/// What happened to one refund of an order, in all services.
pub(crate) async fn of_refund(pool: &Pool, order_id: Uuid, refund_id: Uuid) -> Result<Vec<OrderEvent>, sqlx::Error> {
    let (_, events) = look(pool, order_id).await?;
    let refund_id = refund_id.to_string();
    let is_of_it = |event: &OrderEvent| event.data.get("refund_id").and_then(Value::as_str) == Some(&refund_id);
    Ok(events.iter().map(OrderEvent::of).filter(is_of_it).collect())
}

/// What a listener hears next.
fn told(events: &[StoredEvent], after: GlobalPosition, published: GlobalPosition) -> VecDeque<StoredEvent> {
    events.iter().filter(|event| event.position > after && event.position <= published).cloned().collect()
}

/// Events, in order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventList {
    data: Vec<OrderEvent>,
    has_more: bool,
}

impl EventList {
    pub(crate) fn of<'a>(events: impl Iterator<Item = &'a StoredEvent>, has_more: bool) -> Self {
        Self { data: events.map(OrderEvent::of).collect(), has_more }
    }
}

/// An event. Numbers of 64 bits are texts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderEvent {
    /// Its place in the log, and its id in a stream that goes on.
    position: String,
    /// `holdfast.orders.v1.OrderPlaced`
    #[serde(rename = "type")]
    message_type: String,
    stream: String,
    version: String,
    event_id: Uuid,
    correlation_id: Uuid,
    causation_id: Uuid,
    recorded_at: String,
    /// As the contract has it, with its names of fields.
    data: Value,
}

impl OrderEvent {
    fn of(event: &StoredEvent) -> Self {
        Self {
            position: event.position.to_string(),
            message_type: event.message_type.clone(),
            stream: event.stream.clone(),
            version: event.version.to_string(),
            event_id: event.event_id,
            correlation_id: event.correlation_id,
            causation_id: event.causation_id,
            recorded_at: event.recorded_at.to_string(),
            // What does not decode is still shown: somebody looks because something is wrong.
            data: proto::to_json_as_spelled(&event.message_type, &event.data)
                .unwrap_or_else(|error| error.to_string().into()),
        }
    }
}

/// What a listener hears.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Heard {
    /// The events of this order, of all services.
    Order(Uuid),
    /// Only that there are some: the position of the last, without a name.
    News(Uuid),
    /// All that the log has.
    All,
}

/// Somebody who listens.
struct Listener {
    pool: Pool,
    shutdown: Shutdown,
    heard: Heard,
    /// Where it begins, if that is yet to be said.
    begins: Option<GlobalPosition>,
    after: GlobalPosition,
    waiting: VecDeque<StoredEvent>,
    wait: Duration,
    _room: OwnedSemaphorePermit,
    ends_at: Instant,
}

impl Listener {
    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        futures::stream::unfold(self, async |mut listener| listener.next().await.map(|event| (Ok(event), listener)))
    }

    /// The next event. `None`: the stream ends, and the listener comes again.
    async fn next(&mut self) -> Option<Event> {
        if let Some(begins) = self.begins.take() {
            return Some(Event::default().id(begins.to_string()));
        }
        loop {
            if let Heard::News(_) = self.heard
                && let Some(last) = self.waiting.drain(..).next_back()
            {
                let position = last.position.to_string();
                return Some(Event::default().id(position.clone()).retry(AGAIN_AFTER).data(position));
            }
            if let Some(event) = self.waiting.pop_front() {
                let name = proto::short_name(&event.message_type).to_owned();
                let data = serde_json::to_string(&OrderEvent::of(&event)).unwrap_or_default();
                return Some(Event::default().id(event.position.to_string()).event(name).retry(AGAIN_AFTER).data(data));
            }
            if Instant::now() >= self.ends_at {
                return None;
            }
            tokio::select! {
                () = clock::sleep(self.wait) => {}
                () = self.shutdown.requested() => return None,
            }
            match self.look().await {
                Ok(waiting) => {
                    self.waiting = waiting;
                    self.after = self.waiting.back().map_or(self.after, |event| event.position);
                    self.wait = if self.waiting.is_empty() { (self.wait * 2).min(LOOK_EVERY) } else { LOOK_AFTER_NEWS };
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot read what a listener waits for");
                    return None;
                }
            }
        }
    }

    /// What he has not heard yet.
    async fn look(&self) -> Result<VecDeque<StoredEvent>, sqlx::Error> {
        match self.heard {
            Heard::Order(order_id) | Heard::News(order_id) => {
                let (published, events) = look(&self.pool, order_id).await?;
                Ok(told(&events, self.after, published))
            }
            Heard::All => log::heard(&self.pool, self.after).await,
        }
    }
}
