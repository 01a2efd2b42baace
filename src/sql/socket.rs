//! The sockets a session runs on.
//!
//! tokio's own `UnixStream` also waits for room to write, and a Unix socket reports that each
//! time the server has read a request: one useless wake-up per statement. [`UnixSocket`] is woken
//! only by data to read; room to write is waited for only when a write found none.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Unix(UnixSocket),
    Tcp(TcpStream),
}

impl Socket {
    pub(crate) async fn unix(path: &Path) -> io::Result<Socket> {
        let stream = tokio::net::UnixStream::connect(path).await?.into_std()?;
        UnixSocket::new(stream).map(Socket::Unix)
    }

    pub(crate) async fn tcp(address: SocketAddr, keepalives: bool) -> io::Result<Socket> {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_keepalive(keepalives)?;
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Socket::Tcp(stream))
    }

    /// A second handle to the same socket.
    pub(crate) fn try_clone(&self) -> io::Result<Socket> {
        match self {
            Socket::Unix(socket) => {
                UnixSocket::new(socket.socket.get_ref().try_clone()?).map(Socket::Unix)
            }
            Socket::Tcp(stream) => {
                let second = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
                TcpStream::from_std(second).map(Socket::Tcp)
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Unix(socket) => socket.poll_read(cx, buf),
            Socket::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Unix(socket) => socket.poll_write(cx, bytes),
            Socket::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Neither kind has a buffer of its own.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Unix(socket) => {
                Poll::Ready(socket.socket.get_ref().shutdown(std::net::Shutdown::Write))
            }
            Socket::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

#[derive(Debug)]
pub(crate) struct UnixSocket {
    socket: AsyncFd<UnixStream>,
    /// A second handle, registered for writing; only while a write waits.
    writer: Option<AsyncFd<UnixStream>>,
}

impl UnixSocket {
    fn new(stream: UnixStream) -> io::Result<UnixSocket> {
        Ok(UnixSocket {
            socket: register(stream, Interest::READABLE)?,
            writer: None,
        })
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(cx))?;
            let free = buf.initialize_unfilled();
            let size = free.len();
            match guard.try_io(|socket| socket.get_ref().read(free)) {
                Ok(Ok(read)) => {
                    // A short read emptied the socket: skip the read that would only say so.
                    if 0 < read && read < size {
                        guard.clear_ready();
                    }
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            if let Some(writer) = &self.writer {
                let mut guard = ready!(writer.poll_write_ready(cx))?;
                guard.clear_ready();
            }
            match self.socket.get_ref().write(bytes) {
                Ok(sent) => {
                    self.writer = None;
                    return Poll::Ready(Ok(sent));
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    // A server that hangs up says why first: let the read side find that.
                    io::ErrorKind::BrokenPipe => return Poll::Ready(Ok(bytes.len())),
                    io::ErrorKind::WouldBlock => {
                        if self.writer.is_none() {
                            let second = self.socket.get_ref().try_clone()?;
                            self.writer = Some(register(second, Interest::WRITABLE)?);
                        }
                    }
                    _ => return Poll::Ready(Err(error)),
                },
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "the replacement is unsafe because a type may lie about its descriptor; UnixStream owns its own"
)]
fn register(socket: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    AsyncFd::with_interest(socket, interest)
}
