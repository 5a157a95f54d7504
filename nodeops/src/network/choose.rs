//! Which engine does it: the kernel's netem, or murphy itself; and why not.

use super::domain::{Domain, can_hold};
use super::filter::Way;
use super::native::{self, Device, Discipline, place_is_foreign};
use super::part::{Part, What};
use super::place::{self, Place};
use super::probe::{Probe, probe};
use super::shape::Shape;
use super::table::LEADS;
use inject::Refusal;
use model::Fault;

/// Chooses an engine for a fault that nf_tables cannot do alone, and the devices of the native one.
pub(crate) fn engine(
    fault: &Fault,
    part: Part,
    place: &Place,
    domain: &Domain,
    warnings: &mut Vec<String>,
) -> Result<(What, Vec<Device>), Refusal> {
    let found = probe();
    needs_table(found)?;
    let forced = fault.inject.text("engine").unwrap_or("auto");
    if let What::Cut { reject: true } = part.what {
        needs(&found.reject, "partition how=reject")?;
    }
    let What::Emulated(shape) = &part.what else { return Ok((part.what, Vec::new())) };
    let native = native_can(fault, &part, shape, domain, found);
    let emulated = emulated_can(&part, found);
    let name = fault.inject.name();
    let hint = |other: &Result<(), String>, word: &str| match other {
        Ok(()) => format!("engine={word} can do it here"),
        Err(why) => format!("engine={word} cannot do it either: {why}"),
    };
    let use_native = match forced {
        "native" => {
            if let Err(why) = &native {
                return Err(Refusal::new(
                    format!("{name} by engine=native is not possible in {}: {why}", place.about),
                    hint(&emulated, "emulated"),
                ));
            }
            true
        }
        "emulated" => {
            if let Err(why) = &emulated {
                let other = native.as_ref().map(drop).map_err(Clone::clone);
                return Err(Refusal::new(
                    format!("{name} by engine=emulated is not possible in {}: {why}", place.about),
                    hint(&other, "native"),
                ));
            }
            false
        }
        _ => match (&native, &emulated) {
            (Ok(()), _) => true,
            (Err(why), Ok(())) => {
                warnings.push(format!("held by murphy itself, because engine=native is not possible: {why}"));
                false
            }
            (Err(a), Err(b)) => {
                return Err(Refusal::new(
                    format!(
                        "{name} is not possible in {}: engine=native: {a}; engine=emulated: {b}",
                        place.about
                    ),
                    "load the modules that are named, or run as root; `murphy doctor` shows what else is possible",
                ));
            }
        },
    };
    if !use_native {
        return Ok((part.what, Vec::new()));
    }
    let used = domain.leads();
    let kept = domain.devices(part.number);
    if !kept.is_empty() {
        return Ok((What::Native(shape.clone()), kept));
    }
    let number = (1..=LEADS).find(|n| !used.contains(n)).ok_or_else(|| {
        Refusal::new(
            format!("{LEADS} faults of engine=native are on in {} already", place.about),
            "use engine=emulated for this one",
        )
    })?;
    let mut devices = Vec::new();
    for (link, way) in part.spots() {
        let leaves = way != Way::In;
        let place_was_there = place::inside(place, |route| place_is_foreign(route, link.index))?;
        let text = format!("{} {} {leaves} {}", part.id, link.index, place.ns.id());
        devices.push(Device {
            link: link.index,
            link_name: link.name.clone(),
            leaves,
            ifb: native::name(&text),
            number,
            place_was_there: place_was_there && !domain.made_place(link.index),
        });
    }
    Ok((What::Native(shape.clone()), devices))
}

pub(crate) fn needs_table(found: &Probe) -> Result<(), Refusal> {
    found.table.clone().map_err(|why| {
        Refusal::new(
            format!("faults of the network are led by nf_tables, which does not work here: {why}"),
            "run as root, on a kernel with what is named; `murphy doctor` shows more",
        )
    })
}

pub(crate) fn needs(found: &Result<(), String>, fault: &str) -> Result<(), Refusal> {
    found.clone().map_err(|why| {
        Refusal::new(
            format!("{fault} is not possible here: {why}"),
            "load the module that is named; `murphy doctor` shows more",
        )
    })
}

fn native_can(
    fault: &Fault,
    part: &Part,
    shape: &Shape,
    domain: &Domain,
    found: &Probe,
) -> Result<(), String> {
    if fault.ramp.as_ref().is_some_and(|r| !r.tracks.is_empty()) {
        return Err("the kernel does not ramp: a ramp is for engine=emulated".into());
    }
    let discipline = Discipline::of(shape, part.seed)?;
    match discipline {
        Discipline::Netem(_) => found.netem.clone()?,
        Discipline::Tbf(..) => found.tbf.clone()?,
    }
    if part.spots().iter().any(|(_, way)| *way == Way::In) {
        found.forward.clone()?;
    }
    if let Some(link) = part.links.iter().find(|link| !can_hold(link)) {
        return Err(format!("{} has no Ethernet frames, which an IFB needs", link.name));
    }
    for other in domain.parts() {
        let meet = other.links.iter().any(|l| part.links.iter().any(|m| l.index == m.index));
        if meet
            && other.number != part.number
            && matches!(other.what, What::Native(_))
            && !part.matcher.is_apart_from(&other.matcher)
        {
            return Err(format!(
                "{} is on for packets that this one is for too, and a packet goes through one IFB only",
                other.id
            ));
        }
    }
    Ok(())
}

fn emulated_can(part: &Part, found: &Probe) -> Result<(), String> {
    for (link, way) in part.spots() {
        if way == Way::Out {
            found.egress.clone()?;
            found.forward.clone()?;
            if !can_hold(link) {
                return Err(format!(
                    "{} has no Ethernet frames: only direction=ingress is possible there",
                    link.name
                ));
            }
        } else {
            found.queue.clone().map(drop)?;
        }
    }
    Ok(())
}
