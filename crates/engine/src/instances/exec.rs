//! Commands inside a running instance. No thread waits for one: the runtime calls back at its end.

use std::collections::BTreeMap;
use std::io::PipeReader;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use api::Config;
use api::instances::ExecPost;
use runtime::{Container, ExecProcess, ExecSession, ExecSpec, ExecStdio, Recording};
use serde_json::json;

use super::Instances;
use super::exec_control::Listener;
use super::expand::expand_record;
use crate::error::Context;
use crate::live::Run;
use crate::operations::{Class, DataStream, Endpoint, New, Operation, Promise, Sockets, StreamFds};
use crate::{Error, Result};

const SIGHUP: i32 = 1;
const SIGKILL: i32 = 9;

/// Standard output and error of a detached command, what records them, and the addresses of the records.
type Output = ([OwnedFd; 2], Option<Recording>, BTreeMap<&'static str, String>);

/// Why a pipe could not be made.
const PIPE: &str = "make a pipe";

impl Instances {
    /// Runs a command: a task, or with `wait-for-websocket` a websocket operation whose metadata
    /// holds `fds`.
    pub fn exec(&self, name: &str, request: ExecPost) -> Result<Arc<Operation>> {
        let run = self.run_for_exec(name)?;
        let env = self.environment(name, &request)?;
        check_command(&request)?;
        if request.wait_for_websocket && request.interactive {
            self.exec_terminal(name, run, request, env)
        } else if request.wait_for_websocket {
            self.exec_pipes(name, run, request, env)
        } else {
            self.exec_detached(name, run, request, env)
        }
    }

    fn run_for_exec(&self, name: &str) -> Result<Arc<Run>> {
        self.record(name)?;
        self.engine.gates.check_reachable(name)?;
        let run = self.engine.live.get(name).ok_or_else(|| Error::bad_request("Container is not running."))?;
        if run.is_frozen.load(Ordering::Relaxed) {
            return Err(Error::bad_request("Container is frozen.").hint(format!("`lxc start {name}` lets it go on")));
        }
        Ok(run)
    }

    /// `environment.*` of the instance with the request's over it.
    fn environment(&self, name: &str, request: &ExecPost) -> Result<Config> {
        if request.environment.iter().any(|(key, value)| key.is_empty() || key.contains(['=', '\0']) || value.contains('\0')) {
            return Err(Error::bad_request("an environment variable has an invalid name or value"));
        }
        let config = expand_record(&self.engine.records, &*self.record(name)?).config;
        let mut env: Config = keys::instance::environment(&config);
        env.extend(request.environment.clone());
        Ok(env)
    }

    /// Without streams, or with its output in log files.
    fn exec_detached(&self, name: &str, run: Arc<Run>, request: ExecPost, env: Config) -> Result<Arc<Operation>> {
        let operation = self.engine.operations.begin(Class::Task, New::instance("Executing command", name), Sockets::default())?;
        let started = self.output(name, operation.id(), request.record_output).and_then(|([stdout, stderr], recording, urls)| {
            let stdin = sys::fs::open("/dev/null").context("open /dev/null")?.into();
            let session = start(&run.container, &request, env, ExecStdio::Fds([stdin, stdout, stderr]))?;
            Ok((session, recording, urls))
        });
        match started {
            Err(error) => operation.end(Err(error)),
            Ok((session, recording, urls)) => {
                let ending = operation.clone();
                session.process.on_end(move |code| {
                    recording.into_iter().for_each(Recording::finish);
                    let mut metadata = json!({ "return": code });
                    if !urls.is_empty() {
                        metadata["output"] = json!(urls);
                    }
                    ending.end(told(&run, code).map(|()| Some(metadata)));
                });
            }
        }
        Ok(operation)
    }

    /// Where the output goes: nowhere, or to log files at these addresses.
    fn output(&self, name: &str, id: &str, recorded: bool) -> Result<Output> {
        if !recorded {
            let null = || sys::fs::append("/dev/null", 0o666).map(OwnedFd::from).context("open /dev/null");
            return Ok(([null()?, null()?], None, BTreeMap::new()));
        }
        let dir = self.engine.config.log_dir.join(name);
        sys::fs::ensure_dir(&dir, 0o700).context("make the log directory")?;
        let mut urls = BTreeMap::new();
        let mut file = |number: &'static str, ending: &str| {
            let file = format!("exec_{id}.{ending}");
            urls.insert(number, format!("/1.0/instances/{name}/logs/{file}"));
            sys::fs::create(dir.join(file), 0o600).context("make a file for the output")
        };
        let (recording, ends) = Recording::start([file("1", "stdout")?, file("2", "stderr")?]).context("record the output")?;
        Ok((ends, Some(recording), urls))
    }

    /// Three streams. The pipes are there from the beginning; the command starts when all are connected.
    fn exec_pipes(&self, name: &str, run: Arc<Run>, request: ExecPost, env: Config) -> Result<Arc<Operation>> {
        let (stdin, stdin_peer) = std::io::pipe().context(PIPE)?;
        let (stdout_peer, stdout) = std::io::pipe().context(PIPE)?;
        let (stderr_peer, stderr) = std::io::pipe().context(PIPE)?;
        let (finished, ending) = std::io::pipe().context(PIPE)?;
        let listener = Listener::default();
        let data = |read: Option<OwnedFd>, write: Option<OwnedFd>| -> Result<Endpoint> {
            Ok(Endpoint::Data(DataStream::ready(StreamFds { read, write, finished: Some(duplicate(&finished)?) })))
        };
        let endpoints = [
            ("0".to_owned(), data(None, Some(stdin_peer.into()))?),
            ("1".to_owned(), data(Some(stdout_peer.into()), None)?),
            ("2".to_owned(), data(Some(stderr_peer.into()), None)?),
            ("control".to_owned(), Endpoint::Control(listener.sink(duplicate(&finished)?, false))),
        ];
        let stdio = ExecStdio::Fds([stdin.into(), stdout.into(), stderr.into()]);
        self.exec_connected(name, endpoints.into(), move |operation| {
            let session = start(&run.container, &request, env, stdio)?;
            follow(operation, run, session.process, &listener, ending);
            Ok(())
        })
    }

    /// One terminal, made when its stream is connected.
    fn exec_terminal(&self, name: &str, run: Arc<Run>, request: ExecPost, env: Config) -> Result<Arc<Operation>> {
        let (finished, ending) = std::io::pipe().context(PIPE)?;
        let (listener, promise) = (Listener::default(), Promise::default());
        let endpoints = vec![
            ("0".to_owned(), Endpoint::Data(promise.stream())),
            ("control".to_owned(), Endpoint::Control(listener.sink(duplicate(&finished)?, true))),
        ];
        self.exec_connected(name, endpoints, move |operation| {
            let stdio = ExecStdio::Pty { width: request.width, height: request.height };
            let session = start(&run.container, &request, env, stdio)?;
            let pty = session.pty.ok_or_else(|| Error::internal("the command got no terminal"))?;
            let read = pty.try_clone().context("duplicate the terminal")?;
            promise.fulfil(StreamFds { read: Some(read), write: Some(pty), finished: Some(finished.into()) });
            follow(operation, run, session.process, &listener, ending);
            Ok(())
        })
    }

    /// A websocket operation that does `begin` once all data streams are connected.
    fn exec_connected<F>(&self, name: &str, endpoints: Vec<(String, Endpoint)>, begin: F) -> Result<Arc<Operation>>
    where
        F: FnOnce(&Arc<Operation>) -> Result<()> + Send + 'static,
    {
        let (sockets, secrets) = Sockets::new(endpoints);
        let new = New { metadata: Some(json!({ "fds": secrets })), ..New::instance("Executing command", name) };
        let operation = self.engine.operations.websocket(new, sockets, name)?;
        let worker = Arc::downgrade(&operation);
        operation.sockets.when_connected(move || {
            let Some(operation) = worker.upgrade() else { return };
            if let Err(error) = begin(&operation) {
                operation.end(Err(error));
            }
        });
        Ok(operation)
    }
}

fn check_command(request: &ExecPost) -> Result<()> {
    if request.command.is_empty() || request.command[0].is_empty() {
        return Err(Error::bad_request("No command given"));
    }
    if request.command.iter().chain([&request.cwd]).any(|text| text.contains('\0')) {
        return Err(Error::bad_request("a command has no NUL"));
    }
    Ok(())
}

fn start(container: &Container, request: &ExecPost, env: Config, stdio: ExecStdio) -> Result<ExecSession> {
    let spec = ExecSpec {
        command: request.command.clone(),
        env,
        cwd: (!request.cwd.is_empty()).then(|| request.cwd.clone()),
        uid: request.user,
        gid: request.group,
        stdio,
    };
    container.exec(spec).context(format!("run a command in `{}`", container.name()))
}

/// Ends the operation with the command; `ending` tells the streams.
fn follow(operation: &Arc<Operation>, run: Arc<Run>, process: Arc<ExecProcess>, listener: &Listener, ending: std::io::PipeWriter) {
    listener.begin(process.clone());
    let operation = operation.clone();
    process.on_end(move |code| {
        drop(ending);
        operation.end(told(&run, code).map(|()| Some(json!({ "return": code }))));
    });
}

/// Whoever watches a session that was ended for a stop is told so, rather than that a signal ended it.
fn told(run: &Run, code: i32) -> Result<()> {
    let was_ended = run.is_leaving.load(Ordering::Relaxed) && [128 + SIGHUP, 128 + SIGKILL].contains(&code);
    if !was_ended {
        return Ok(());
    }
    let name = run.container.name();
    Err(Error::bad_request(format!("The session was ended: `{name}` stops with its running state saved"))
        .hint(format!("after `lxc start {name}`, `lxc exec` begins another; what is to go on should be a service of the instance")))
}

fn duplicate(pipe: &PipeReader) -> Result<OwnedFd> {
    pipe.try_clone().map(OwnedFd::from).context("duplicate a pipe")
}
