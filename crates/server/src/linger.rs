//! Bodies of requests that nobody wants: what is still sent is taken and dropped for a while. A client that
//! sends when its connection is closed does not see the answer that says why.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::HttpBody;
use axum::http::Request;
use axum::http::header::EXPECT;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How many bytes are taken: more than most packages have.
const MOST: usize = 256 << 20;

/// For how long.
const LONGEST: Duration = Duration::from_mins(1);

/// The body of a request. What is left of it when it is dropped is taken by a task of its own.
pub struct Lingering {
    body: Option<Incoming>,
    lingers: bool,
}

/// A request whose body is taken in any case.
pub fn over(request: Request<Incoming>) -> Request<Lingering> {
    // Who waits to be told to go on sends nothing in vain.
    let lingers = !request.headers().contains_key(EXPECT);
    request.map(|body| Lingering {
        body: Some(body),
        lingers,
    })
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(context);
        if let Poll::Ready(None | Some(Err(_))) = polled {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.map_or(SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| !body.is_end_stream());
        let left = left.filter(|_| self.lingers);
        if let (Some(body), Ok(runtime)) = (left, Handle::try_current()) {
            runtime.spawn(timeout(LONGEST, take(body)));
        }
    }
}

async fn take(mut body: Incoming) {
    let mut taken = 0;
    while let Some(Ok(frame)) = body.frame().await {
        taken += frame.data_ref().map_or(0, Bytes::len);
        if taken > MOST {
            break;
        }
    }
}
