//! The guest API from inside: asks once, follows events, and does what a hostile guest would.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::Check;

const PATIENCE: Duration = Duration::from_secs(30);

fn connect(socket: &str) -> Result<UnixStream, String> {
    let stream = UnixStream::connect(socket).map_err(|error| format!("connect to {socket}: {error}"))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    Ok(stream)
}

/// Prints the status and, on the next lines, the body. `request` is verb and path, and after a line break what is sent.
pub fn ask(socket: &str, request: &str) -> Check {
    let mut stream = connect(socket)?;
    let failed = |error: std::io::Error| format!("{request}: {error}");
    let (line, body) = request.split_once('\n').unwrap_or((request, ""));
    let length = body.len();
    write!(stream, "{line} HTTP/1.1\r\nHost: lxd\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}").map_err(failed)?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).map_err(failed)?;
    let text = String::from_utf8_lossy(&reply);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("{request}: no reply, but {text:?}"))?;
    println!("{}\n{body}", head.split(' ').nth(1).unwrap_or("none"));
    Ok(())
}

/// Appends events to a file, one a line, until the connection ends; then `end`.
pub fn follow(socket: &str, kind: &str, path: &str, to: &str) -> Check {
    let mut stream = connect(socket)?;
    let failed = |error: std::io::Error| format!("follow {path}: {error}");
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let is_websocket = kind == "websocket";
    write!(stream, "GET {path} HTTP/1.1\r\nHost: lxd\r\n{}\r\n", if is_websocket { upgrade } else { "" }).map_err(failed)?;
    stream.set_read_timeout(None).map_err(failed)?;
    let mut reader = BufReader::new(stream);
    let note = |text: &str| {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(to);
        file.and_then(|mut file| writeln!(file, "{text}")).map_err(failed)
    };
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).map_err(failed)? <= 2 {
            break;
        }
    }
    note("following")?;
    while let Ok(Some(event)) = if is_websocket { frame(&mut reader) } else { chunk(&mut reader) } {
        note(event.trim_end())?;
    }
    note("end")
}

/// The text of an unmasked frame; `None` for the closing one.
fn frame(reader: &mut impl Read) -> std::io::Result<Option<String>> {
    let mut head = [0; 2];
    reader.read_exact(&mut head)?;
    let length = match head[1] {
        126 => {
            let mut long = [0; 2];
            reader.read_exact(&mut long)?;
            usize::from(u16::from_be_bytes(long))
        }
        short => usize::from(short),
    };
    let mut text = vec![0; length];
    reader.read_exact(&mut text)?;
    Ok((head[0] & 0xf == 1).then(|| String::from_utf8_lossy(&text).into_owned()))
}

/// One chunk of a reply of unknown length.
fn chunk(reader: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let length = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
    let mut text = vec![0; length + 2];
    reader.read_exact(&mut text)?;
    Ok((length > 0).then(|| String::from_utf8_lossy(&text[..length]).into_owned()))
}

/// Half of its threads ask as fast as they can, the others connect and say nothing, or never read.
pub fn flood(socket: &str, seconds: usize) -> Check {
    let end = Instant::now() + Duration::from_secs(seconds as u64);
    std::thread::scope(|scope| {
        for number in 0..200 {
            let _ = std::thread::Builder::new().stack_size(64 * 1024).spawn_scoped(scope, move || {
                let mut silent = Vec::new();
                while Instant::now() < end {
                    let Ok(mut stream) = UnixStream::connect(socket) else {
                        std::thread::sleep(Duration::from_millis(5));
                        continue;
                    };
                    drop(stream.set_read_timeout(Some(Duration::from_millis(500))));
                    drop(stream.set_write_timeout(Some(Duration::from_millis(500))));
                    match number % 4 {
                        0 => silent.push(stream),
                        1 => {
                            drop(stream.write_all(&b"GET /1.0/config HTTP/1.1\r\nHost: lxd\r\n\r\n".repeat(1000)));
                            silent.push(stream);
                        }
                        2 => drop(stream.write_all(&vec![b'x'; 1 << 20])),
                        _ => {
                            for _ in 0..1000 {
                                let asked = stream.write_all(b"GET /1.0 HTTP/1.1\r\nHost: lxd\r\n\r\n");
                                if asked.and_then(|()| stream.read(&mut [0; 4096])).is_ok_and(|count| count > 0) && Instant::now() < end {
                                    continue;
                                }
                                break;
                            }
                        }
                    }
                }
            });
        }
    });
    Ok(())
}
