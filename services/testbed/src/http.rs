//! HTTP over a bare socket, a connection for each request: nothing is sent again unseen, and anything can be sent.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// 201
    pub status: u16,
    /// By their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body; null if it is no JSON.
    pub json: Value,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    /// A header, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The code of a problem, or nothing.
    #[must_use]
    pub fn code(&self) -> &str {
        self.json.get("code").and_then(Value::as_str).unwrap_or_default()
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no HTTP answer: {text:?}"))?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?.parse()?;
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
        let json = serde_json::from_str(body).unwrap_or_default();
        Ok(Self { status, headers, json, text: body.to_owned() })
    }
}

/// Sends bytes to `127.0.0.1:41231`, and reads until the other side closes.
///
/// # Errors
/// There is no answer, or none in time.
pub async fn raw(address: &str, request: &[u8]) -> Result<Answer> {
    let exchange = async {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(request).await?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await?;
        Answer::read(&answer)
    };
    tokio::time::timeout(ANSWER_WITHIN, exchange).await.context("no answer over HTTP")?
}

/// Sends a request with these headers.
///
/// # Errors
/// There is no answer, or none in time.
pub async fn request(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    raw(address, request.as_bytes()).await
}

/// Address and path of `http://127.0.0.1:41231/pay/cs_1`.
///
/// # Errors
/// It is no such URL.
pub fn parts(url: &str) -> Result<(&str, &str)> {
    let rest = url.strip_prefix("http://").with_context(|| format!("{url} does not begin with http://"))?;
    Ok(rest.split_at(rest.find('/').unwrap_or(rest.len())))
}

#[cfg(test)]
mod tests {
    use super::{Answer, parts};

    #[test]
    fn an_answer_is_read_with_its_headers_and_its_json() {
        let bytes = b"HTTP/1.1 409 Conflict\r\nRetry-After:  1\r\n\r\n{\"code\": \"UNDER_WAY\"}";
        let answer = Answer::read(bytes).unwrap();
        assert_eq!((answer.status, answer.header("retry-after"), answer.code()), (409, "1", "UNDER_WAY"));
        assert!(Answer::read(b"HTTP/1.1 200 OK\r\n").is_err());
    }

    #[test]
    fn a_url_has_an_address_and_a_path() {
        assert_eq!(parts("http://127.0.0.1:80/pay/cs_1?a=b").unwrap(), ("127.0.0.1:80", "/pay/cs_1?a=b"));
        assert_eq!(parts("http://127.0.0.1:80").unwrap(), ("127.0.0.1:80", ""));
        assert!(parts("https://127.0.0.1").is_err());
    }
}
