//! Walking trees of any depth with few descriptors.
//!
//! A walk goes down by single names in open directories. Only the lowest levels stay open; on the
//! way back up the others are opened again as `..` of what is below, and must then be the very
//! directories that they were. A guest that moves directories about meanwhile can thus lead the
//! walk nowhere else: what it moved is left out.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::trail::Trail;
use super::{is_vanished, open_plain};
use crate::error::{Context, Error, Result};

/// More threads than this do not make a walk of one disk faster.
const MAX_THREADS: usize = 4;
/// Threads are started only after so many directories; a small tree needs none.
const PARALLEL_FROM: usize = 16;
/// How many levels a thread keeps open, besides its topmost one.
const OPEN_LEVELS: usize = 16;

/// Where a walk is: an open directory, or several that are walked together.
pub trait Place: Sized + Send {
    /// What tells whether a place is the same as another.
    type Identity: PartialEq + Send;

    /// The directory `name` in this one, which is at `trail`; `None` if it is not there any more.
    fn down(&self, name: &OsStr, trail: &Trail) -> Result<Option<Self>>;
    /// Called when a directory that was to be visited is not there any more.
    fn gone(&self, _name: &OsStr, _trail: &Trail) -> Result<()> {
        Ok(())
    }
    /// The directory above.
    fn up(&self) -> Result<Self>;
    /// Which directory this is.
    fn identity(&self) -> Result<Self::Identity>;
}

/// One open directory.
#[derive(Debug)]
pub struct Dir(OwnedFd);

impl Dir {
    /// Takes an open directory.
    pub fn new(dir: OwnedFd) -> Self {
        Self(dir)
    }

    /// The descriptor.
    pub fn as_owned(&self) -> &OwnedFd {
        &self.0
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Place for Dir {
    type Identity = (u64, u64);

    fn down(&self, name: &OsStr, trail: &Trail) -> Result<Option<Self>> {
        match open_plain(&self.0, name).context("open directory", trail.show(name)) {
            Err(error) if is_vanished(&error) => Ok(None),
            other => Ok(Some(Self(other?))),
        }
    }

    fn up(&self) -> Result<Self> {
        open_plain(&self.0, OsStr::new("..")).context("open directory", "..").map(Self)
    }

    #[allow(clippy::unnecessary_cast, reason = "the types differ between architectures")]
    fn identity(&self) -> Result<Self::Identity> {
        let stat = rustix::fs::fstat(&self.0).context("stat", "directory")?;
        Ok((stat.st_dev as u64, stat.st_ino as u64))
    }
}

/// Calls `visit` once for each directory of a tree, a directory before what is in it. It returns
/// the names of the directories below that are to be visited, which are then taken in that order.
pub fn walk_in_order<P: Place, E: From<Error>>(
    top: P,
    mut visit: impl FnMut(&P, &Trail) -> std::result::Result<Vec<OsString>, E>,
) -> std::result::Result<(), E> {
    let mut visit = |place: &P, trail: &Trail| -> std::result::Result<Vec<OsString>, E> {
        let mut names = visit(place, trail)?;
        names.reverse();
        Ok(names)
    };
    let mut descent = Descent::begin(top, Trail::default(), &mut visit)?;
    while descent.next(&mut visit)? {}
    Ok(())
}

/// Calls `visit` once for each directory of a tree, in any order and from several threads,
/// beginning with the top. It returns the names of the directories below that are to be visited.
/// `worker` makes what one thread keeps between visits. The first error ends the walk.
pub fn walk<P: Place, W>(
    top: P,
    worker: impl Fn() -> W + Sync,
    visit: impl Fn(&mut W, &P, &Trail) -> Result<Vec<OsString>> + Sync,
) -> Result<()> {
    let queue = Queue::new();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    std::thread::scope(|scope| {
        let helper = || {
            let mut own = worker();
            while let Some(task) = queue.take() {
                queue.finish(run(task, &queue, &mut |place, trail| visit(&mut own, place, trail)));
            }
        };
        let mut own = worker();
        let mut visited = 0;
        let first = run(Task { place: top, trail: Trail::default() }, &queue, &mut |place, trail| {
            visited += 1;
            if visited == PARALLEL_FROM {
                for _ in 1..threads {
                    scope.spawn(helper);
                }
            }
            visit(&mut own, place, trail)
        });
        queue.finish(first);
        while let Some(task) = queue.take() {
            queue.finish(run(task, &queue, &mut |place, trail| visit(&mut own, place, trail)));
        }
    });
    queue.lock().error.take().map_or(Ok(()), Err)
}

/// Walks all below a task, and gives parts of it away to threads that have nothing to do.
fn run<P: Place>(task: Task<P>, queue: &Queue<P>, visit: &mut impl FnMut(&P, &Trail) -> Result<Vec<OsString>>) -> Result<()> {
    let mut descent = Descent::begin(task.place, task.trail, visit)?;
    while descent.next(visit)? {
        if queue.is_hungry()
            && let Some(task) = descent.give_away()?
        {
            queue.put(task);
        }
        if queue.has_failed() {
            break;
        }
    }
    Ok(())
}

/// A directory that is to be visited with all below.
struct Task<P> {
    place: P,
    trail: Trail,
}

/// The way down from one directory to where a walk is.
struct Descent<P: Place> {
    levels: Vec<Level<P>>,
}

struct Level<P: Place> {
    place: Held<P>,
    trail: Trail,
    /// Directories below that are still to be visited; the last is next.
    dirs: Vec<OsString>,
}

enum Held<P: Place> {
    Open(P),
    Closed(P::Identity),
}

impl<P: Place> Held<P> {
    fn place(&self) -> Option<&P> {
        match self {
            Self::Open(place) => Some(place),
            Self::Closed(_) => None,
        }
    }
}

impl<P: Place> Descent<P> {
    fn begin<E>(
        top: P,
        trail: Trail,
        visit: &mut impl FnMut(&P, &Trail) -> std::result::Result<Vec<OsString>, E>,
    ) -> std::result::Result<Self, E> {
        let dirs = visit(&top, &trail)?;
        Ok(Self { levels: vec![Level { place: Held::Open(top), trail, dirs }] })
    }

    /// Visits the next directory, or goes up one level; false at the end.
    fn next<E: From<Error>>(
        &mut self,
        visit: &mut impl FnMut(&P, &Trail) -> std::result::Result<Vec<OsString>, E>,
    ) -> std::result::Result<bool, E> {
        let Some(level) = self.levels.last_mut() else { return Ok(false) };
        let (Some(name), Held::Open(place)) = (level.dirs.pop(), &level.place) else {
            self.leave()?;
            return Ok(true);
        };
        let Some(below) = place.down(&name, &level.trail)? else {
            place.gone(&name, &level.trail)?;
            return Ok(true);
        };
        let trail = level.trail.join(&name);
        let dirs = visit(&below, &trail)?;
        if !dirs.is_empty() {
            self.levels.push(Level { place: Held::Open(below), trail, dirs });
            self.close_one()?;
        }
        Ok(true)
    }

    /// Closes the level that is one too many; never the topmost, from which all can be found.
    fn close_one(&mut self) -> Result<()> {
        let Some(index) = self.levels.len().checked_sub(OPEN_LEVELS + 1).filter(|index| *index > 0) else { return Ok(()) };
        if let Some(place) = self.levels[index].place.place() {
            self.levels[index].place = Held::Closed(place.identity()?);
        }
        Ok(())
    }

    /// Leaves the lowest level, and opens the one above again if it is closed.
    fn leave(&mut self) -> Result<()> {
        let Some(left) = self.levels.pop() else { return Ok(()) };
        let (Some(above), Some(place)) = (self.levels.last_mut(), left.place.place()) else { return Ok(()) };
        let Held::Closed(identity) = &above.place else { return Ok(()) };
        match place.up() {
            // Where nothing is left to do it is only a step further up, where it is seen if it was wrong.
            Ok(found) if above.dirs.is_empty() || found.identity()? == *identity => {
                above.place = Held::Open(found);
                Ok(())
            }
            Err(error) if !is_vanished(&error) => Err(error),
            _ => self.find_again(),
        }
    }

    /// After a directory was moved: goes down again from the top by names, as far as they lead to
    /// the same directories. What is below was moved away and is left out.
    fn find_again(&mut self) -> Result<()> {
        for index in 1..self.levels.len() {
            let (above, rest) = self.levels.split_at_mut(index);
            let (Some(above), Some(level)) = (above.last(), rest.first_mut()) else { break };
            let Held::Closed(identity) = &level.place else { continue };
            let found = match (above.place.place(), level.trail.names().next()) {
                (Some(place), Some(name)) => place.down(name, &above.trail)?,
                _ => None,
            };
            let same = match found {
                Some(found) if found.identity()? == *identity => found,
                _ => {
                    self.levels.truncate(index);
                    break;
                }
            };
            level.place = Held::Open(same);
            if index > 1 {
                let closed = &mut self.levels[index - 1].place;
                if let Some(place) = closed.place() {
                    *closed = Held::Closed(place.identity()?);
                }
            }
        }
        Ok(())
    }

    /// A directory that another thread may visit: of the highest level that has any, and never the
    /// only one left.
    fn give_away(&mut self) -> Result<Option<Task<P>>> {
        let has_dirs = |level: &&mut Level<P>| !level.dirs.is_empty() && level.place.place().is_some();
        let is_last = self.levels.iter().map(|level| level.dirs.len()).sum::<usize>() < 2;
        let Some(level) = self.levels.iter_mut().find(has_dirs).filter(|_| !is_last) else { return Ok(None) };
        let (Some(name), Some(place)) = (level.dirs.pop(), level.place.place()) else { return Ok(None) };
        let trail = level.trail.join(&name);
        let below = place.down(&name, &level.trail)?;
        if below.is_none() {
            place.gone(&name, &level.trail)?;
        }
        Ok(below.map(|place| Task { place, trail }))
    }
}

struct State<P> {
    tasks: Vec<Task<P>>,
    busy: usize,
    waiting: usize,
    error: Option<Error>,
}

struct Queue<P> {
    state: Mutex<State<P>>,
    changed: Condvar,
    /// More threads wait than there are tasks.
    hungry: AtomicBool,
    failed: AtomicBool,
}

impl<P> Queue<P> {
    /// A queue whose maker is busy with the first task.
    fn new() -> Self {
        let state = State { tasks: Vec::new(), busy: 1, waiting: 0, error: None };
        Self { state: Mutex::new(state), changed: Condvar::new(), hungry: AtomicBool::new(false), failed: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_hungry(&self) -> bool {
        self.hungry.load(Ordering::Relaxed)
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    fn note_hunger(&self, state: &State<P>) {
        self.hungry.store(state.waiting > state.tasks.len(), Ordering::Relaxed);
    }

    fn put(&self, task: Task<P>) {
        let mut state = self.lock();
        state.tasks.push(task);
        self.note_hunger(&state);
        drop(state);
        self.changed.notify_one();
    }

    /// The next task; `None` when there will be no more.
    fn take(&self) -> Option<Task<P>> {
        let mut state = self.lock();
        state.waiting += 1;
        let task = loop {
            if state.error.is_some() {
                break None;
            }
            if let Some(task) = state.tasks.pop() {
                state.busy += 1;
                break Some(task);
            }
            if state.busy == 0 {
                break None;
            }
            self.note_hunger(&state);
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.waiting -= 1;
        self.note_hunger(&state);
        task
    }

    fn finish(&self, result: Result<()>) {
        let mut state = self.lock();
        state.busy -= 1;
        if let Err(error) = result {
            state.error.get_or_insert(error);
            self.failed.store(true, Ordering::Relaxed);
        }
        drop(state);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use rustix::fs::Mode;

    use super::*;
    use crate::tree::{names, open_dir};

    fn top(path: &Path) -> Dir {
        Dir::new(open_plain(rustix::fs::CWD, path.as_os_str()).expect("open"))
    }

    fn subdirs(dir: &Dir) -> Result<Vec<OsString>> {
        Ok(names(dir, "test")?.into_iter().map(|(name, _)| name).collect())
    }

    /// A chain of directories, each with a sibling beside it.
    fn deep(dir: &Path, depth: usize) {
        let mut at = open_plain(rustix::fs::CWD, dir.as_os_str()).expect("open");
        for _ in 0..depth {
            for name in ["down", "beside"] {
                rustix::fs::mkdirat(&at, name, Mode::RWXU).expect("mkdir");
            }
            at = open_plain(&at, OsStr::new("down")).expect("open");
        }
    }

    #[test]
    fn every_directory_is_visited_once_and_an_error_ends_it() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for path in (0..64).map(|index| format!("{}/{}/{}", index / 16, index / 4 % 4, index % 4)) {
            std::fs::create_dir_all(dir.path().join(path)).expect("mkdir");
        }
        let seen = Mutex::new(Vec::new());
        walk(
            top(dir.path()),
            || (),
            |(), place, trail| {
                seen.lock().expect("lock").push(trail.to_path());
                subdirs(place)
            },
        )
        .expect("walk");
        let seen = seen.into_inner().expect("lock");
        assert_eq!((seen.len(), seen.iter().collect::<BTreeSet<_>>().len()), (85, 85));
        let failing = |(): &mut (), place: &Dir, trail: &Trail| match trail.to_string().as_str() {
            "3/2/1" => Err(Error::new("visit", trail, crate::Errno::IO)),
            _ => subdirs(place),
        };
        assert_eq!(walk(top(dir.path()), || (), failing).expect_err("must fail").subject, "3/2/1");
        let mut order = Vec::new();
        walk_in_order(top(dir.path()), |place, trail| {
            order.push(trail.to_path());
            let mut names = subdirs(place)?;
            names.sort();
            Ok::<_, Error>(names)
        })
        .expect("walk");
        assert_eq!(order[..4], ["", "0", "0/0", "0/0/0"].map(PathBuf::from));
        assert!(order.is_sorted() && order.len() == 85);
    }

    #[test]
    fn a_tree_deeper_than_a_path_is_walked_with_few_descriptors() {
        let dir = tempfile::tempdir().expect("temporary directory");
        deep(dir.path(), 5000);
        let count = std::sync::atomic::AtomicUsize::new(0);
        walk(
            top(dir.path()),
            || (),
            |(), place, _| {
                count.fetch_add(1, Ordering::Relaxed);
                subdirs(place)
            },
        )
        .expect("walk");
        assert_eq!(count.into_inner(), 10_001);
        let (mut count, mut deepest) = (0, Trail::default());
        walk_in_order(top(dir.path()), |place, trail| {
            count += 1;
            if trail.length() > deepest.length() {
                deepest = trail.clone();
                assert!(std::fs::read_dir("/proc/self/fd").expect("list").count() < 200);
            }
            subdirs(place)
        })
        .expect("walk");
        assert_eq!(count, 10_001);
        let found = open_dir(top(dir.path()), &deepest.to_path()).expect("a path of any length can be opened");
        assert!(names(found, "deepest").expect("list").is_empty());
        crate::tree::remove(dir.path()).expect("remove");
    }

    #[test]
    fn a_directory_moved_meanwhile_leads_nowhere_else() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
        for path in [&tree, &outside] {
            std::fs::create_dir(path).expect("mkdir");
        }
        deep(&tree, 40);
        let at: PathBuf = std::iter::repeat_n("down", 10).collect();
        let mut seen = Vec::new();
        walk_in_order(top(&tree), |place, trail| {
            seen.push(trail.to_path());
            if trail.names().filter(|name| *name == "down").count() == 40 {
                // What is walked moves out of the tree, with its lower levels and the walk in it.
                std::fs::rename(tree.join(&at), outside.join("down")).expect("rename");
                std::fs::create_dir(outside.join("secret")).expect("mkdir");
            }
            let mut names = subdirs(place)?;
            names.sort_by_key(|name| name != "down");
            Ok::<_, Error>(names)
        })
        .expect("walk");
        assert!(!seen.iter().any(|path| path.ends_with("secret")));
        let beside = |depth: usize| std::iter::repeat_n("down", depth).chain(["beside"]).collect::<PathBuf>();
        assert!(seen.contains(&beside(35)), "open when it was moved");
        assert!((0..10).all(|depth| seen.contains(&beside(depth))), "what was not moved is found again");
    }
}
