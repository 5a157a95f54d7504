//! Everything works as it does without us.

use crate::ground::{Ground, Test};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};

pub const TESTS: &[Test] = &[
    ("names_and_data_are_those_of_the_source", names_and_data),
    ("a_removed_file_is_there_while_it_is_open", removed_while_open),
    ("many_files_are_listed_once_each", many_names),
    ("set_user_id_is_lost_by_writing_as_another", set_user_id),
    ("holes_reservations_and_copies", holes),
    ("hard_links_survive_the_loss_of_a_name", hard_links),
    ("extended_attributes", xattrs),
    ("mapped_files_are_written", mapped),
    ("options_change_under_running_programs", replaced),
    ("files_passed_through_are_read_and_written", passed_through),
];

fn names_and_data() {
    let g = Ground::new();
    fs::create_dir_all(g.path("a/b")).unwrap();
    fs::write(g.path("a/b/f"), "one").unwrap();
    symlink("b/f", g.path("a/l")).unwrap();
    assert_eq!(fs::read_to_string(g.path("a/l")).unwrap(), "one");
    fs::rename(g.path("a/b"), g.path("c")).unwrap();
    assert_eq!(fs::read_to_string(g.path("c/f")).unwrap(), "one");
    let mut f = File::options().append(true).open(g.path("c/f")).unwrap();
    f.write_all(b" two").unwrap();
    f.sync_all().unwrap();
    let (mtime, ino) =
        (fs::metadata(g.path("c/f")).unwrap().mtime_nsec(), fs::metadata(g.path("c/f")).unwrap().ino());
    drop(f);
    g.close();
    let real = fs::metadata(g.path("c/f")).unwrap();
    assert_eq!(fs::read_to_string(g.path("c/f")).unwrap(), "one two");
    assert_eq!((real.mtime_nsec(), real.ino()), (mtime, ino));
    assert!(!g.path("a/l").exists() && g.path("a/l").is_symlink());
}

fn removed_while_open() {
    let g = Ground::new();
    let mut f = File::options().read(true).write(true).create(true).truncate(true).open(g.path("f")).unwrap();
    f.write_all(b"kept").unwrap();
    fs::remove_file(g.path("f")).unwrap();
    assert_eq!(f.metadata().unwrap().nlink(), 0);
    f.set_len(2).unwrap();
    f.set_permissions(fs::Permissions::from_mode(0o640)).unwrap();
    f.seek(SeekFrom::Start(0)).unwrap();
    let mut text = String::new();
    f.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), f.metadata().unwrap().mode() & 0o777), ("ke", 0o640));
    // Its number may be given to another file at once.
    for i in 0..50 {
        fs::write(g.path("n"), format!("new {i}")).unwrap();
        assert_eq!(fs::read_to_string(g.path("n")).unwrap(), format!("new {i}"));
        fs::remove_file(g.path("n")).unwrap();
    }
}

fn many_names() {
    let g = Ground::new();
    for i in 0..3000 {
        File::create(g.path(&format!("file-with-a-longer-name-{i}"))).unwrap();
    }
    for _ in 0..3 {
        let mut names: Vec<_> = fs::read_dir(g.path("")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 3000);
    }
}

fn set_user_id() {
    let g = Ground::new();
    let f = File::create(g.path("s")).unwrap();
    f.set_permissions(fs::Permissions::from_mode(0o6777)).unwrap();
    f.write_at(b"root keeps it", 0).unwrap();
    assert_eq!(fs::metadata(g.path("s")).unwrap().mode() & 0o7777, 0o6777);
    std::os::unix::fs::chown(g.path(""), Some(65534), Some(65534)).unwrap();
    let path = g.path("s");
    let top = g.path("").parent().unwrap().to_owned();
    fs::set_permissions(top, fs::Permissions::from_mode(0o755)).unwrap();
    let wrote = std::process::Command::new("/bin/sh")
        .args(["-c", "echo x >> \"$0\" && echo y > \"$0.new\""])
        .arg(&path)
        .env_clear()
        .uid_gid()
        .status()
        .unwrap();
    assert!(wrote.success());
    assert_eq!(fs::metadata(g.path("s")).unwrap().mode() & 0o7777, 0o777);
    let new = fs::metadata(g.path("s.new")).unwrap();
    assert_eq!((new.uid(), new.gid()), (65534, 65534));
}

trait Nobody {
    fn uid_gid(&mut self) -> &mut Self;
}
impl Nobody for std::process::Command {
    fn uid_gid(&mut self) -> &mut Self {
        use std::os::unix::process::CommandExt;
        self.uid(65534).gid(65534)
    }
}

fn holes() {
    use nix::fcntl::{FallocateFlags, fallocate};
    use nix::unistd::{Whence, lseek};
    let g = Ground::new();
    let f = File::options().read(true).write(true).create(true).truncate(true).open(g.path("h")).unwrap();
    f.write_at(&[1; 4096], 1 << 20).unwrap();
    assert_eq!(lseek(&f, 0, Whence::SeekData).unwrap(), 1 << 20);
    fallocate(&f, FallocateFlags::empty(), 0, 4096).unwrap();
    fallocate(&f, FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE, 1 << 20, 4096)
        .unwrap();
    let mut b = [9; 4096];
    f.read_exact_at(&mut b, 1 << 20).unwrap();
    assert_eq!(b, [0; 4096]);
    f.write_at(b"copied", 0).unwrap();
    let to = File::create(g.path("to")).unwrap();
    let n = rustix::fs::copy_file_range(&f, Some(&mut 0), &to, Some(&mut 0), 6).unwrap();
    assert_eq!((n, fs::read(g.path("to")).unwrap().as_slice()), (6, &b"copied"[..]));
}

fn hard_links() {
    let g = Ground::new();
    fs::write(g.path("one"), "x").unwrap();
    fs::hard_link(g.path("one"), g.path("two")).unwrap();
    let ino = fs::metadata(g.path("one")).unwrap().ino();
    assert_eq!(fs::metadata(g.path("two")).unwrap().ino(), ino);
    fs::remove_file(g.path("two")).unwrap();
    fs::set_permissions(g.path("one"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(fs::read_to_string(g.path("one")).unwrap(), "x");
    fs::write(g.path("three"), "y").unwrap();
    fs::rename(g.path("three"), g.path("one")).unwrap();
    assert_eq!(fs::read_to_string(g.path("one")).unwrap(), "y");
}

fn xattrs() {
    let g = Ground::new();
    fs::write(g.path("x"), "").unwrap();
    let path = g.path("x");
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(&path, "user.a", b"value", flags) == Err(rustix::io::Errno::OPNOTSUPP) {
        eprintln!("skipped: the source has no user attributes");
        return;
    }
    let mut buffer = [0; 64];
    assert_eq!(rustix::fs::getxattr(&path, "user.a", &mut buffer[..]).unwrap(), 5);
    let n = rustix::fs::listxattr(&path, &mut buffer[..]).unwrap();
    assert!(buffer[..n].windows(6).any(|w| w == b"user.a"));
    rustix::fs::removexattr(&path, "user.a").unwrap();
    assert!(rustix::fs::getxattr(&path, "user.a", &mut buffer[..]).is_err());
}

fn mapped() {
    let g = Ground::new();
    fs::write(g.path("m"), vec![b'.'; 8192]).unwrap();
    let script = "import mmap,sys\nf=open(sys.argv[1],'r+b')\nm=mmap.mmap(f.fileno(),8192)\nm[4095:4098]=b'abc'\nm.flush()\n";
    let python = std::process::Command::new("python3").args(["-c", script]).arg(g.path("m")).status();
    let Ok(status) = python else {
        eprintln!("skipped: needs python3");
        return;
    };
    assert!(status.success());
    assert_eq!(&fs::read(g.path("m")).unwrap()[4095..4098], b"abc");
}

fn replaced() {
    use inject::Injector;
    let g = Ground::new();
    fs::write(g.path("f"), "before").unwrap();
    let open = File::options().read(true).write(true).open(g.path("f")).unwrap();
    let model::TargetSpec::Fs(mut spec) = g.target.spec.clone() else { panic!() };
    spec.track_unsynced = Some("1MiB".parse().unwrap());
    let target = model::Target { name: "t".into(), spec: model::TargetSpec::Fs(spec) };
    let state = g.runtime.block_on(g.injector.open(&target)).unwrap();
    assert!(state.up && state.about.contains("not synced"), "{state:?}");
    // What was open goes on, and both see the same file.
    open.write_at(b"after!", 0).unwrap();
    assert_eq!(fs::read_to_string(g.path("f")).unwrap(), "after!");
    fs::write(g.path("new"), "x").unwrap();
    drop(open);
    g.close();
    assert_eq!(fs::read_to_string(g.path("new")).unwrap(), "x");
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(g.path("").to_str().unwrap().trim_end_matches('/')), "{table}");
}

fn passed_through() {
    let spec = model::target::FsSpec { passthrough: vec!["/cache/*".into()], ..Default::default() };
    let g = Ground::with(spec);
    fs::create_dir(g.path("cache")).unwrap();
    for name in ["cache/c", "plain"] {
        fs::write(g.path(name), "first").unwrap();
        let a = File::options().read(true).write(true).open(g.path(name)).unwrap();
        let b = File::open(g.path(name)).unwrap();
        a.write_at(b"FIRST", 0).unwrap();
        let mut text = [0; 5];
        b.read_exact_at(&mut text, 0).unwrap();
        assert_eq!(&text, b"FIRST", "{name}");
        // A name that makes it another kind while it is open.
        fs::rename(g.path(name), g.path("cache/moved")).unwrap();
        assert_eq!(fs::read_to_string(g.path("cache/moved")).unwrap(), "FIRST", "{name}");
    }
}
