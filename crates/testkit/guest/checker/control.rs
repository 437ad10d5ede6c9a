//! The loop that uses the objects, and the socket by which it is asked how they are.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use crate::Check;

/// Something that is used at every tick.
pub trait Object {
    fn name(&self) -> &'static str;
    /// Uses it a little; `n` counts from 1.
    fn tick(&mut self, n: u64) -> Check;
    /// Looks at all of it.
    fn verify(&mut self) -> Check {
        Ok(())
    }
    /// `name=value ...` for the answer.
    fn figures(&mut self) -> String {
        String::new()
    }
}

const SOCKET: &str = "control";
/// How long the loop may take until it is said where it hangs.
const PATIENCE: Duration = Duration::from_secs(90);
/// What the loop does now.
static DOING: Mutex<&str> = Mutex::new("nothing");
/// What is found broken, by whichever process finds it.
const BROKEN: &str = "broken";

fn set_doing(what: &'static str) {
    *DOING.lock().unwrap_or_else(PoisonError::into_inner) = what;
}

fn doing() -> &'static str {
    *DOING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the directory, without what an earlier run left.
pub fn prepare(dir: &Path) -> Check {
    drop(std::fs::remove_dir_all(dir));
    std::fs::create_dir_all(dir).map_err(|error| format!("make {}: {error}", dir.display()))
}

/// Notes for the answer that something is wrong.
pub fn note(dir: &Path, name: &str, reason: &str) {
    let line = format!("{name}: {reason}\n");
    let file = std::fs::OpenOptions::new().create(true).append(true).open(dir.join(BROKEN));
    if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
        eprintln!("{line}({error})");
    }
}

/// The objects of this process.
pub struct Guest {
    dir: PathBuf,
    /// With whether each is still whole.
    objects: Vec<(Box<dyn Object>, bool)>,
    requests: mpsc::Receiver<mpsc::Sender<String>>,
}

impl Guest {
    pub fn new(dir: &Path, objects: Vec<Box<dyn Object>>) -> Result<Self, String> {
        let listener = UnixListener::bind(dir.join(SOCKET)).map_err(|error| format!("listen: {error}"))?;
        let (sender, requests) = mpsc::channel();
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let (answer, answered) = mpsc::channel();
                if sender.send(answer).is_err() {
                    return;
                }
                let text = answered.recv_timeout(PATIENCE).unwrap_or_else(|error| format!("BROKEN\nthe loop is at `{}`: {error}\n", doing()));
                drop(client.write_all(text.as_bytes()));
            }
        });
        Ok(Self { dir: dir.to_owned(), objects: objects.into_iter().map(|object| (object, true)).collect(), requests })
    }

    pub fn run(mut self, period: Duration) -> Check {
        for n in 1.. {
            self.each(|object| object.tick(n));
            if let Ok(answer) = self.requests.try_recv() {
                drop(answer.send(self.answer()));
            }
            set_doing("a pause");
            std::thread::sleep(period);
        }
        Ok(())
    }

    /// What is broken is noted once and not used any more.
    fn each(&mut self, mut action: impl FnMut(&mut dyn Object) -> Check) {
        for (object, is_whole) in self.objects.iter_mut().filter(|(_, is_whole)| *is_whole) {
            set_doing(object.name());
            if let Err(reason) = action(&mut **object) {
                note(&self.dir, object.name(), &reason);
                *is_whole = false;
            }
        }
    }

    fn answer(&mut self) -> String {
        self.each(|object| object.verify());
        set_doing("the answer");
        let broken = std::fs::read_to_string(self.dir.join(BROKEN)).unwrap_or_default();
        if !broken.is_empty() {
            return format!("BROKEN\n{broken}");
        }
        let figures: Vec<String> = self.objects.iter_mut().map(|(object, _)| object.figures()).filter(|text| !text.is_empty()).collect();
        format!("ok objects={} {}\n", self.objects.len(), figures.join(" "))
    }
}

/// Asks the process that works on a directory.
pub fn ask(dir: &Path) -> Check {
    let ask = || -> std::io::Result<String> {
        let mut socket = UnixStream::connect(dir.join(SOCKET))?;
        socket.set_read_timeout(Some(PATIENCE + Duration::from_secs(30)))?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| format!("BROKEN\nit does not answer: {error}"))?;
    if !answer.starts_with("ok ") {
        return Err(if answer.is_empty() { "BROKEN\nit answered nothing".into() } else { answer });
    }
    print!("{answer}");
    Ok(())
}
