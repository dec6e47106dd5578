//! A small HTTP/1.1 client over a plain socket, for requests that no library would send, too.
//!
//! A [`Connection`] owns its socket; every read has an end ([`super::PATIENCE`]), so that a host
//! that hangs fails the test instead of hanging it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::PATIENCE;

/// A request to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: String,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Option<Vec<u8>>,
}

/// A `multipart/form-data` body of these parts, with the boundary `frontier`.
pub(crate) fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in parts {
        body.extend(format!("--frontier\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n").bytes());
        body.extend(*content);
        body.extend(b"\r\n");
    }
    body.extend(b"--frontier--\r\n");
    body
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), body: None }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST of JSON.
    pub(crate) fn post(target: &str, body: &Value) -> Self {
        Self::new("POST", target).header("content-type", "application/json").body(body.to_string())
    }

    /// One that registers an agent: its settings and its component.
    pub(crate) fn multipart(method: &str, target: &str, settings: &Value, component: &[u8]) -> Self {
        let settings = settings.to_string();
        let body = form(&[("settings", settings.as_bytes()), ("component", component)]);
        Self::new(method, target).header("content-type", "multipart/form-data; boundary=frontier").body(body)
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("authorization", format!("Bearer {key}"))
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The bytes on the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        let has = |name: &str| self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        if !has("host") {
            bytes.extend(b"host: localhost\r\n");
        }
        for (name, value) in &self.headers {
            bytes.extend(name.as_bytes());
            bytes.extend(b": ");
            bytes.extend(value);
            bytes.extend(b"\r\n");
        }
        if let Some(body) = &self.body
            && !has("content-length")
            && !has("transfer-encoding")
        {
            bytes.extend(format!("content-length: {}\r\n", body.len()).bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(self.body.iter().flatten());
        bytes
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Reply {
    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The body, which must be JSON and say so.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let media = self.header("content-type");
        assert_eq!(media, Some("application/json"), "{} {}", self.status, self.text);
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {}", self.text))
    }

    /// The body of an answer with this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    /// The body of a failure with this status and code, which has the shape of every failure.
    #[track_caller]
    pub(crate) fn expect_failure(&self, status: u16, code: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(body["code"], code, "{body}");
        for field in ["error", "message", "path", "request_id"] {
            assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "no `{field}` in {body}");
        }
        assert_eq!(body["request_id"].as_str(), self.header("x-request-id"), "{body}");
        body
    }
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::try_open(address).expect("a connection")
    }

    pub(crate) fn try_open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// A connection that was made otherwise.
    pub(crate) fn of(stream: TcpStream) -> Self {
        stream.set_nonblocking(false).expect("a blocking socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Self { stream: BufReader::new(stream) }
    }

    /// The answer that comes within this time, if one does.
    pub(crate) fn try_answer_within(&mut self, time: Duration) -> Option<Reply> {
        self.stream.get_ref().set_read_timeout(Some(time)).expect("a timeout");
        let arrives = self.stream.fill_buf().is_ok();
        self.stream.get_ref().set_read_timeout(Some(PATIENCE)).expect("a timeout");
        arrives.then(|| self.answer(false).expect("all of the answer"))
    }

    /// Sends a request and reads its answer; the connection stays open.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: &Request) -> Reply {
        self.try_ask(request).unwrap_or_else(|error| panic!("no answer to {request:?}: {error}"))
    }

    pub(crate) fn try_ask(&mut self, request: &Request) -> io::Result<Reply> {
        self.send(&request.bytes())?;
        self.answer(request.method == "HEAD")
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Says that nothing more is sent.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.stream.get_mut().shutdown(std::net::Shutdown::Write)
    }

    /// The same connection, for whoever ends it while somebody else waits for an answer.
    pub(crate) fn stream(&self) -> TcpStream {
        self.stream.get_ref().try_clone().expect("a connection")
    }

    /// Waits for the first bytes of an answer, and leaves them where they are.
    pub(crate) fn arrives(&mut self) -> io::Result<()> {
        self.stream.fill_buf().map(|_| ())
    }

    /// Everything until the host closes.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// Reads one answer.
    pub(crate) fn answer(&mut self, to_head: bool) -> io::Result<Reply> {
        let invalid =
            |what: &str, line: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {line:?}"));
        let line = self.line()?;
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
        let status: u16 = status.ok_or_else(|| invalid("not a status line", &line))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid("not a header", &line))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if status == 100 {
            return self.answer(to_head);
        }
        let mut reply = Reply { status, headers, text: String::new() };
        if to_head || status == 204 || status < 200 {
            return Ok(reply);
        }
        let length = reply.header("content-length").and_then(|length| length.parse().ok());
        let length: usize = length.ok_or_else(|| invalid("no content-length", &line))?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        reply.text = String::from_utf8(body).map_err(|error| invalid("not UTF-8", &error.to_string()))?;
        Ok(reply)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches("\r\n").to_owned())
    }
}
