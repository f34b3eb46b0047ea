//! Connections that notice when too little comes.
//!
//! ureq's limits are for a whole answer or for one read of the socket. The first would end a
//! large package on a slow line, the second never ends a server that sends a byte a second, and
//! inside a TLS record or a chunk's header such bytes do not even reach the reader of the body. So
//! the outermost transport measures: over every `window` of waiting, `floor` bytes must come.
//!
//! What is sent (a buffer at a time) has as long to leave.
//!
//! Only waiting counts. Time in which nobody asks for bytes (a slow disk) is no stall.

use std::time::{Duration, Instant};

use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, RustlsConnector,
    SocksConnector, TcpConnector, Transport, time,
};
use ureq::{Error, Timeout};

/// A slower server is no better than a dead one: a megabyte would take a quarter of an hour.
const BYTES_PER_SECOND: u128 = 1024;

/// The reason by which a stall is told from other timeouts; no other limit here has it.
pub(crate) const STALLED: Timeout = Timeout::RecvBody;

/// Makes connections, by proxy and TLS where needed, that stall for no longer than `window`.
pub(crate) fn connector(window: Duration) -> impl Connector {
    let floor = window.as_millis() * BYTES_PER_SECOND / 1000;
    ().chain(SocksConnector::default())
        .chain(ConnectProxyConnector::default())
        .chain(TcpConnector::default())
        .chain(SharedTls(RustlsConnector::default()))
        .chain(Watch {
            window,
            floor: usize::try_from(floor).unwrap_or(usize::MAX).max(1),
        })
}

/// TLS whose set-up (reading the platform's certificates) is done once, at the first connection
/// that needs it. By itself ureq would repeat it for every request with limits of its own.
#[derive(Debug)]
struct SharedTls(RustlsConnector);

impl<In: Transport> Connector<In> for SharedTls {
    type Out = <RustlsConnector as Connector<In>>::Out;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        // Sound because one client's requests never differ in their TLS settings.
        let details = ConnectionDetails {
            request_level: false,
            uri: details.uri,
            addrs: details.addrs.clone(),
            config: details.config,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        self.0.connect(&details, chained)
    }
}

#[derive(Debug)]
struct Watch {
    window: Duration,
    floor: usize,
}

impl<In: Transport> Connector<In> for Watch {
    type Out = Watched<In>;

    fn connect(
        &self,
        _details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|inner| Watched {
            inner,
            window: self.window,
            floor: self.floor,
            waited: Duration::ZERO,
            received: 0,
        }))
    }
}

#[derive(Debug)]
struct Watched<T> {
    inner: T,
    window: Duration,
    floor: usize,
    /// Spent waiting in the present window.
    waited: Duration,
    /// Bytes in the present window.
    received: usize,
}

impl<T> Watched<T> {
    fn open_window(&mut self) {
        self.waited = Duration::ZERO;
        self.received = 0;
    }
}

impl<T: Transport> Transport for Watched<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        // A new request on a connection that is used again.
        self.open_window();
        let mut limit = timeout;
        if self.window < *limit.after {
            limit.after = time::Duration::Exact(self.window);
            limit.reason = STALLED;
        }
        self.inner.transmit_output(amount, limit)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let begun = Instant::now();
        loop {
            let mut limit = timeout;
            if !limit.after.is_not_happening() {
                limit.after = time::Duration::Exact(limit.after.saturating_sub(begun.elapsed()));
            }
            let left = self.window.saturating_sub(self.waited);
            if left < *limit.after {
                limit.after = time::Duration::Exact(left);
                limit.reason = STALLED;
            }
            let before = self.inner.buffers().input().len();
            let asked = Instant::now();
            let outcome = self.inner.await_input(limit);
            self.waited += asked.elapsed();
            self.received += self.inner.buffers().input().len().saturating_sub(before);

            let enough = self.received >= self.floor;
            match outcome {
                // The window is over, and enough came in its earlier part.
                Err(Error::Timeout(STALLED)) if enough => self.open_window(),
                Ok(true) if self.waited >= self.window => {
                    if !enough {
                        return Err(Error::Timeout(STALLED));
                    }
                    self.open_window();
                    return Ok(true);
                }
                outcome => return outcome,
            }
        }
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}
