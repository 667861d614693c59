//! HTTP requests, upgrades and bridged streams.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use napi::bindgen_prelude::{Buffer, Result};
use napi_derive::napi;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{
    binding::{NativeService, index, invalid},
    bridge::{Bridge, CHUNKS, JsStream},
    queue::Item,
};
use crate::transport::{Caller, Carrier, Incoming, Reply};

/// What the handshake object needs of a request.
#[napi(object)]
pub struct RequestHead {
    /// `JSON.stringify(req.headers)`.
    pub headers: String,
    /// The client's address.
    pub address: String,
    /// Whether the connection is encrypted.
    pub secure: bool,
    /// Whether `knock` has counted it.
    pub counted: bool,
}

impl From<RequestHead> for Caller {
    fn from(head: RequestHead) -> Self {
        Self {
            headers: head.headers,
            address: head.address,
            is_secure: head.secure,
            is_counted: head.counted,
        }
    }
}

/// An HTTP response.
#[napi(object)]
pub struct ErrorReply {
    /// Status code.
    pub status: u32,
    /// `Content-Type`.
    pub content_type: String,
    /// Body.
    pub body: String,
}

impl From<Reply> for ErrorReply {
    fn from(reply: Reply) -> Self {
        Self {
            status: reply.status.into(),
            content_type: reply.content_type.to_owned(),
            body: String::from_utf8_lossy(&reply.body).into_owned(),
        }
    }
}

#[napi]
impl NativeService {
    /// Engine.IO's checks: true for a handshake, false for a request of a session, or the error to answer with.
    #[napi(catch_unwind)]
    pub fn check(&self, method: String, url: String, upgrade: bool) -> napi::Either<bool, ErrorReply> {
        match self.server.transport().check(&method, &url, upgrade) {
            Ok(handshake) => napi::Either::A(handshake),
            Err(reply) => napi::Either::B(reply.into()),
        }
    }

    /// The answer to a balancer that asks whether new clients may come.
    #[napi(catch_unwind)]
    pub fn health(&self) -> ErrorReply {
        self.server.transport().health().into()
    }

    /// Counts a handshake before the application is asked about it: null, or the error to answer with.
    #[napi(catch_unwind)]
    pub fn knock(&self, head: RequestHead) -> Option<ErrorReply> {
        let refused = self.server.transport().knock(&head.into()).err();
        refused.map(ErrorReply::from)
    }

    /// A POST of a session begins: null when its body is to be read, or the error to answer with.
    #[napi(catch_unwind)]
    pub fn begin_post(&self, url: String) -> Option<ErrorReply> {
        let refused = self.server.transport().begin_post(&url).err();
        refused.map(ErrorReply::from)
    }

    /// Answers a long-polling request under this number, unless it is cancelled. `head` is for handshakes.
    #[napi(catch_unwind)]
    pub fn respond(
        &self,
        id: f64,
        method: String,
        url: String,
        head: Option<RequestHead>,
        content_type: Option<String>,
        body: Option<Buffer>,
    ) {
        let transport = self.server.transport().clone();
        let caller = head.map(Caller::from);
        let body = body.map_or_else(Bytes::new, |body| Bytes::copy_from_slice(&body));
        let (queue, requests) = (self.queue.clone(), self.requests.clone());
        let number = index(id);
        let task = self.server.runtime().spawn(async move {
            let reply = transport.respond(&method, &url, caller, content_type, body).await;
            requests.remove(&number);
            queue.push(Item::Reply(id, reply));
        });
        self.requests.insert(number, Some(task.abort_handle()));
        if task.is_finished() {
            self.requests.remove(&number);
        }
    }

    /// Answers polls of sessions under these numbers, unless they are cancelled; the URLs are lines of one text.
    #[napi(catch_unwind)]
    pub fn poll(&self, ids: Vec<f64>, urls: String) {
        for id in &ids {
            self.requests.insert(index(*id), None);
        }
        let transport = self.server.transport().clone();
        let (queue, requests) = (self.queue.clone(), self.requests.clone());
        // From a thread of the runtime, starting a task wakes nobody.
        self.server.runtime().spawn(async move {
            for (id, url) in ids.into_iter().zip(urls.lines()) {
                let answer = match transport.clone().poll(url) {
                    Ok(answer) => answer,
                    Err(reply) => {
                        requests.remove(&index(id));
                        queue.push(Item::Reply(id, reply));
                        continue;
                    }
                };
                let (tell, running) = (queue.clone(), requests.clone());
                let task = tokio::spawn(async move {
                    let reply = answer.await;
                    running.remove(&index(id));
                    tell.push(Item::Reply(id, reply));
                });
                match requests.get_mut(&index(id)) {
                    Some(mut entry) => *entry = Some(task.abort_handle()),
                    // It has been cancelled, or is finished.
                    None => task.abort(),
                }
            }
        });
    }

    /// Forgets a request.
    #[napi(catch_unwind)]
    pub fn cancel(&self, id: f64) {
        if let Some((_, Some(task))) = self.requests.remove(&index(id)) {
            task.abort();
        }
    }

    /// The client of a request of a session went away before the request was over.
    #[napi(catch_unwind)]
    pub fn abandon(&self, method: String, url: String) {
        self.server.transport().abandon(&method, &url);
    }

    /// A request's body is larger than allowed: its session ends.
    #[napi(catch_unwind)]
    pub fn refuse_oversized(&self, method: String, url: String) {
        self.server.transport().refuse_oversized(&method, &url);
    }

    /// Takes over the connection behind a descriptor, or says what to answer. `received`: bytes read from it already.
    #[napi(catch_unwind)]
    pub fn take_over(
        &self,
        method: String,
        url: String,
        head: RequestHead,
        fd: i32,
        received: Option<Buffer>,
    ) -> Result<Option<ErrorReply>> {
        #[cfg(unix)]
        {
            let upgrade = match self.server.transport().upgrade(&method, &url, &head.into()) {
                Ok(upgrade) => upgrade,
                Err(reply) => return Ok(Some(reply.into())),
            };
            let _runtime = self.server.runtime().enter();
            let stream = Arc::new(crate::transport::handover::duplicate(fd).map_err(invalid)?);
            self.server.transport().attach(
                upgrade,
                Carrier::Tcp(stream.clone().into()),
                Incoming::Tcp(stream),
                received.as_deref().unwrap_or_default(),
            );
            Ok(None)
        }
        #[cfg(not(unix))]
        {
            let _ = (method, url, head, fd, received);
            Err(invalid("connections are handed over on Unix only"))
        }
    }

    /// Serves a stream that JavaScript reads and writes: its number, or what to answer.
    #[napi(catch_unwind)]
    pub fn bridge(
        &self,
        method: String,
        url: String,
        head: RequestHead,
        received: Option<Buffer>,
    ) -> napi::Either<f64, ErrorReply> {
        let upgrade = match self.server.transport().upgrade(&method, &url, &head.into()) {
            Ok(upgrade) => upgrade,
            Err(reply) => return napi::Either::B(reply.into()),
        };
        let _runtime = self.server.runtime().enter();
        let number = self.next_bridge.fetch_add(1, Ordering::Relaxed);
        let id = number as f64;
        let sink = Arc::new(JsStream::new(id, self.queue.clone()));
        let (incoming, chunks) = mpsc::channel(CHUNKS);
        let connection = self.server.transport().attach(
            upgrade,
            Carrier::Bridge(sink),
            Incoming::Bridge(chunks),
            received.as_deref().unwrap_or_default(),
        );
        self.bridges.insert(number, Bridge { incoming, connection });
        napi::Either::A(id)
    }

    /// Bytes that a bridged stream received. False when it has to pause until `operation` is reported as finished.
    #[napi(catch_unwind)]
    pub fn bridge_data(&self, id: f64, bytes: Buffer, operation: f64) -> bool {
        let Some(incoming) = self.bridges.get(&index(id)).map(|bridge| bridge.incoming.clone()) else {
            return true;
        };
        let Err(TrySendError::Full(bytes)) = incoming.try_send(Bytes::copy_from_slice(&bytes)) else {
            return true;
        };
        let queue = self.queue.clone();
        self.server.runtime().spawn(async move {
            // Fails when the connection has ended, which its stream is told otherwise.
            let _ = incoming.send(bytes).await;
            queue.push(Item::Done(operation));
        });
        false
    }

    /// A bridged stream has ended.
    #[napi(catch_unwind)]
    pub fn bridge_closed(&self, id: f64) {
        self.bridges.remove(&index(id));
    }

    /// A bridged stream has written bytes.
    #[napi(catch_unwind)]
    pub fn bridge_written(&self, id: f64, bytes: f64) {
        if let Some(bridge) = self.bridges.get(&index(id)) {
            bridge.connection.written(usize::try_from(index(bytes)).unwrap_or(0));
        }
    }
}
