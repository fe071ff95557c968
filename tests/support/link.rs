//! A network of its own behind a link that can be taken down: a network namespace and a veth pair,
//! whose other end is here.
//!
//! Owns:     the namespace and the pair, named after this process; gone when dropped. What a
//!           killed process left is removed by the next one that makes a link.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A namespace and the link to it. Needs root.
pub(crate) struct Link {
    namespace: String,
    /// The end of the pair on this side.
    near: String,
    address: Ipv4Addr,
}

impl Link {
    /// # Errors
    /// Why there can be none here, as a sentence.
    pub(crate) fn new() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("a network namespace needs root".to_owned());
        }
        remove_leftovers();
        let id = process::id();
        let far = format!("kf{id}");
        let third = (id % 250) as u8;
        let link = Self {
            namespace: format!("{PREFIX}{id}"),
            near: format!("kn{id}"),
            address: Ipv4Addr::new(198, 18, third, 1),
        };
        let Self { namespace, near, address } = &link;
        let far_address = Ipv4Addr::new(198, 18, third, 2);
        let inside = format!("netns exec {namespace} ip");
        ip(&format!("netns add {namespace}"))?;
        ip(&format!("link add {near} type veth peer name {far} netns {namespace}"))?;
        ip(&format!("addr add {address}/30 dev {near}"))?;
        ip(&format!("link set {near} up"))?;
        ip(&format!("{inside} addr add {far_address}/30 dev {far}"))?;
        ip(&format!("{inside} link set {far} up"))?;
        ip(&format!("{inside} link set lo up"))?;
        Ok(link)
    }

    /// Where those inside reach this side.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Runs `work` in a thread inside: threads that it starts, and their sockets, are inside too.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let entry = File::open(entries().join(&self.namespace)).expect("made by `new`");
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(entry.as_fd(), kind).expect("root may enter");
                work()
            });
            inside.join().expect("the work inside panicked")
        })
    }

    pub(crate) fn take_down(&self) {
        ip(&format!("link set {} down", self.near)).expect("root may");
    }

    /// What both ends still have to say to each other gets through from now on.
    pub(crate) fn bring_up(&self) {
        ip(&format!("link set {} up", self.near)).expect("root may");
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The pair goes with either end, and the namespace when the last socket inside is closed.
        ip(&format!("link del {}", self.near)).ok();
        ip(&format!("netns del {}", self.namespace)).ok();
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.map_err(|error| format!("no `ip` command (iproute2) here: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {arguments}: {}", said.trim()))
}

fn remove_leftovers() {
    let Ok(entries) = fs::read_dir(entries()) else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let Some(id) = name.strip_prefix(PREFIX) else { continue };
        if !Path::new("/proc").join(id).exists() {
            ip(&format!("link del kn{id}")).ok();
            ip(&format!("netns del {name}")).ok();
        }
    }
}

fn entries() -> PathBuf {
    PathBuf::from("/run/netns")
}

const PREFIX: &str = "kuring-";
