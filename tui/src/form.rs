//! The arming form, made from the catalogue: what is typed, and the fault it comes to.

use crate::change::Changing;
use crate::cmdline;
use crate::radius::Radius;
use control::wire::PlanView;
use model::catalogue::Layer;
use model::units::{Percent, Span};
use model::value::ParamType;
use model::{
    Fault, FaultDef, Injection, Matcher, ParamDef, Per, Problem, Share, TargetKind, TargetRef, TargetSpec,
};
use std::collections::BTreeMap;
use tui_input::Input;

/// What a field is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Asks {
    /// Which target.
    Target,
    /// A parameter.
    Param(&'static ParamDef),
    /// How long.
    For,
    /// Which share.
    Share,
    /// Which requests.
    When,
    /// How long it outlives this console.
    Lease,
}

/// One line of the form.
#[derive(Debug, Clone)]
pub struct Field {
    /// What it is for.
    pub asks: Asks,
    /// What is typed.
    pub input: Input,
}

/// A fault ready to be armed.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// At which agent.
    pub agent: usize,
    /// What.
    pub fault: Fault,
    /// A lease of its own.
    pub lease: Option<Span>,
    /// Whom it hits.
    pub radius: Radius,
    /// The fault that it changes, instead of being one more.
    pub changes: Option<Changing>,
}

/// What the agent says to the form as it stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Plan {
    /// Nothing was asked.
    #[default]
    None,
    /// Asked, with the number of the question.
    Asked(u64),
    /// What would be done.
    Possible(Box<PlanView>),
    /// Why it cannot be done.
    Refused(String),
}

/// The form.
#[derive(Debug, Default)]
pub struct Form {
    /// The fault it is for.
    pub def: Option<&'static FaultDef>,
    /// The chosen target.
    pub target: Option<(usize, TargetRef)>,
    /// Its lines.
    pub fields: Vec<Field>,
    /// The selected line.
    pub at: usize,
    /// When it was last changed, until the agent was asked about it.
    pub changed_ms: Option<f64>,
    /// What the agent says to it.
    pub plan: Plan,
    /// The fault that it changes; none: it arms one.
    pub changes: Option<Changing>,
    drafts: BTreeMap<&'static str, Vec<Field>>,
}

/// What is wrong with a form: in which line, and what.
pub type Wrong = (usize, Problem);

impl Field {
    fn new(asks: Asks, text: &str) -> Field {
        Field { asks, input: Input::new(text.to_owned()) }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self.asks {
            Asks::Target => "target",
            Asks::Param(p) => p.name,
            Asks::For => "for",
            Asks::Share => "share",
            Asks::When => "when",
            Asks::Lease => "lease",
        }
    }

    /// The words to choose from, when it is not typed.
    pub fn choices(&self) -> Option<Vec<&'static str>> {
        match self.asks {
            Asks::Param(ParamDef { ty: ParamType::Choice(words), .. }) => Some(words.to_vec()),
            Asks::Param(ParamDef { ty: ParamType::Bool, .. }) => Some(vec!["true", "false"]),
            _ => None,
        }
    }

    /// What it means, and what may stand in it.
    pub fn help(&self, def: &FaultDef) -> String {
        match self.asks {
            Asks::Target => match typed_kinds(def).first() {
                Some(kind) => format!(
                    "where: ← → choose among the open targets it fits, or type another one, {}",
                    match kind {
                        TargetKind::Process => "by number or by a text of its command line (process:4711)",
                        TargetKind::Node => "this machine (node:self), a namespace (netns:blue), a container",
                        TargetKind::Container => "by name (container:web-1, container:shop/web)",
                        _ => "by name or path (cgroup:/system.slice/x)",
                    }
                ),
                None => "where: ← → choose among the targets it fits".to_owned(),
            },
            Asks::Param(p) => {
                let optional = if p.required || p.default.is_some() { "" } else { ", or nothing" };
                format!("{}; {}{optional}", p.doc, p.ty.describe())
            }
            Asks::For => "then it is taken back by itself; a duration (60s)".to_owned(),
            Asks::Share => format!(
                "which {}: all, 30%, every 3, first 10; up and down in steps with ← →",
                def.counts.unwrap_or("part")
            ),
            Asks::When if def.layer == Layer::Requests => {
                "only those that match: method=POST path=/pay* header.x-user=beta-*, or nothing".to_owned()
            }
            Asks::When if def.layer == Layer::Tls => {
                "only those that match: sni=*.shop.example client=10.0.0.0/8, or nothing".to_owned()
            }
            Asks::When => "only those that match: client=10.0.0.0/8, or nothing".to_owned(),
            Asks::Lease => {
                "taken back this long after this console is gone; nothing: it lasts its time".to_owned()
            }
        }
    }
}

impl Form {
    /// Shows the form of another fault; what was typed for the one before is kept.
    pub fn open(&mut self, def: &'static FaultDef) {
        if self.def == Some(def) && self.changes.is_none() {
            return;
        }
        // What was typed to change one is no draft of another.
        if let (Some(before), None) = (self.def, self.changes.take()) {
            self.drafts.insert(before.name, std::mem::take(&mut self.fields));
        }
        self.def = Some(def);
        self.at = 0;
        self.plan = Plan::None;
        self.fields = self.drafts.remove(def.name).unwrap_or_else(|| fields(def));
    }

    /// Shows a fault that is on, to be changed.
    pub fn change(&mut self, changing: Changing) {
        let fault = &changing.from;
        self.open(fault.inject.def());
        // What was typed to arm one of the kind is there again afterwards.
        self.drafts.insert(fault.inject.name(), std::mem::take(&mut self.fields));
        let text = |asks: Asks| match asks {
            Asks::Target | Asks::Lease => String::new(),
            Asks::Param(p) => fault.inject.get(p.name).map_or_else(String::new, ToString::to_string),
            Asks::For => fault.lasts.map_or_else(String::new, |l| l.to_string()),
            Asks::Share => fault.share.to_string(),
            Asks::When => fault.when.as_ref().map_or_else(String::new, cmdline::typed),
        };
        self.fields = fields(fault.inject.def());
        self.fields.retain(|f| !matches!(f.asks, Asks::Target | Asks::Lease));
        self.fields.iter_mut().for_each(|f| f.input = Input::new(text(f.asks)));
        (self.at, self.plan) = (0, Plan::None);
        self.target = Some((changing.agent, fault.target.clone()));
        self.changes = Some(changing);
    }

    /// The selected line.
    pub fn field(&self) -> Option<&Field> {
        self.fields.get(self.at)
    }

    /// The line for that.
    fn text(&self, asks: Asks) -> &str {
        self.fields.iter().find(|f| f.asks == asks).map_or("", |f| f.input.value().trim())
    }

    /// The fault that it comes to, or all that is wrong with it.
    pub fn fault(&self) -> Result<Fault, Vec<Wrong>> {
        let Some(def) = self.def else { return Err(Vec::new()) };
        let mut wrong: Vec<Wrong> = Vec::new();
        let line = |asks: Asks| self.fields.iter().position(|f| f.asks == asks).unwrap_or(0);
        let mut params = BTreeMap::new();
        for (i, field) in self.fields.iter().enumerate() {
            let Asks::Param(param) = field.asks else { continue };
            let text = field.input.value().trim();
            if text.is_empty() {
                if param.required {
                    wrong.push((i, Problem::new(format!("{} is missing", param.name))));
                }
                continue;
            }
            match param.ty.parse(text) {
                Ok(value) => drop(params.insert(param.name.to_owned(), value)),
                Err(e) => wrong.push((i, Problem::new(e.to_string()))),
            }
        }
        let mut lasts = None;
        if !def.one_shot {
            match self.text(Asks::For).parse::<Span>() {
                Ok(span) => lasts = Some(span),
                Err(e) => wrong.push((line(Asks::For), Problem::new(e.to_string()))),
            }
        }
        let (share, per) = share(self.text(Asks::Share)).unwrap_or_else(|p| {
            wrong.push((line(Asks::Share), p));
            (Share::All, None)
        });
        let when = match self.text(Asks::When) {
            "" => None,
            text => text.parse::<Matcher>().map_err(|p| wrong.push((line(Asks::When), p))).ok(),
        };
        if let Err(p) = self.lease() {
            wrong.push((line(Asks::Lease), p));
        }
        let Some((_, target)) = &self.target else {
            wrong.insert(
                0,
                (0, written(def, self.text(Asks::Target)).err().unwrap_or_else(|| no_target(def))),
            );
            return Err(wrong);
        };
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let inject = Injection::new(def, params).map_err(|p| vec![(0, p)])?;
        let fault = Fault {
            id: None,
            target: target.clone(),
            inject,
            lasts,
            share,
            per,
            when,
            ramp: None,
            seed: None,
        };
        let problems = fault.problems();
        if problems.is_empty() {
            return Ok(fault);
        }
        let place = |p: &Problem| match p.what.as_str() {
            w if w.contains("match") => line(Asks::When),
            w if w.contains("share") => line(Asks::Share),
            w if w.contains("last") || w.contains("longer") || w.contains("end") => line(Asks::For),
            _ => 0,
        };
        Err(problems.into_iter().map(|p| (place(&p), p)).collect())
    }

    /// Goes by this target, whatever was typed before.
    pub fn choose(&mut self, target: Option<(usize, TargetRef)>) {
        self.target = target;
        self.fields.iter_mut().filter(|f| f.asks == Asks::Target).for_each(|f| f.input.reset());
    }

    /// Whether a target is typed, and not chosen.
    pub fn is_target_typed(&self) -> bool {
        !self.text(Asks::Target).is_empty()
    }

    /// Goes by the target that is typed, at this agent; none when it says none.
    pub fn take_typed_target(&mut self, agent: usize) {
        let Some(def) = self.def else { return };
        self.target = written(def, self.text(Asks::Target)).ok().map(|target| (agent, target));
    }

    /// The lease that is asked for.
    pub fn lease(&self) -> Result<Option<Span>, Problem> {
        match self.text(Asks::Lease) {
            "" => Ok(None),
            text => {
                let span: Span =
                    text.parse().map_err(|e: model::units::UnitError| Problem::new(e.to_string()))?;
                if span < Span::secs(3) {
                    return Err(Problem::new("a lease under 3s may run out between two renewals")
                        .hint("write for example 15s"));
                }
                Ok(Some(span))
            }
        }
    }

    /// Chooses the next or the one before: a word, or a step of the share. Says whether there was a choice.
    pub fn step(&mut self, by: i32) -> bool {
        let Some(field) = self.fields.get_mut(self.at) else { return false };
        let now = field.input.value().trim().to_owned();
        let ladder: Vec<&str> = match (field.choices(), field.asks) {
            (Some(words), _) => words,
            (None, Asks::Share) if SHARES.contains(&now.as_str()) => SHARES.to_vec(),
            _ => return false,
        };
        let place = ladder.iter().position(|w| *w == now).unwrap_or(0) as i32 + by;
        let place = match field.asks {
            // A share has ends; words go round.
            Asks::Share => place.clamp(0, ladder.len() as i32 - 1),
            _ => place.rem_euclid(ladder.len() as i32),
        };
        field.input = Input::new(ladder[place as usize].to_owned());
        true
    }
}

/// The shares that the arrow keys step through.
const SHARES: [&str; 9] = ["1%", "5%", "10%", "20%", "30%", "50%", "70%", "90%", "all"];

fn fields(def: &'static FaultDef) -> Vec<Field> {
    let mut out = vec![Field::new(Asks::Target, "")];
    for p in def.params {
        let text = p.default.unwrap_or(if p.required { p.example } else { "" });
        out.push(Field::new(Asks::Param(p), text));
    }
    if !def.one_shot {
        out.push(Field::new(Asks::For, "60s"));
    }
    if def.counts.is_some() {
        // Connections are few and long, so a small share of them may be none at all.
        out.push(Field::new(Asks::Share, if def.layer == Layer::Requests { "30%" } else { "all" }));
        out.push(Field::new(Asks::When, ""));
    }
    if !def.one_shot {
        out.push(Field::new(Asks::Lease, ""));
    }
    out
}

/// The kinds of a fault's targets that need no opening, so that they can be typed.
pub fn typed_kinds(def: &FaultDef) -> Vec<TargetKind> {
    let opened = |kind: &TargetKind| matches!(kind, TargetKind::Proxy | TargetKind::Fs);
    def.targets.iter().copied().filter(|kind| !opened(kind)).collect()
}

/// A target as it is typed: `process:4711`, or `4711` where it is clear what kind is meant.
fn written(def: &FaultDef, text: &str) -> Result<TargetRef, Problem> {
    let kinds = typed_kinds(def);
    let target: TargetRef = match (text.contains(':'), kinds.first()) {
        (false, Some(kind)) if !text.is_empty() => TargetRef::new(*kind, text),
        _ if text.is_empty() => return Err(no_target(def)),
        _ => text.parse()?,
    };
    if !def.fits(target.kind) {
        let words: Vec<&str> = def.targets.iter().map(|k| k.word()).collect();
        return Err(Problem::new(format!("{} cannot be armed on {target}", def.name))
            .hint(format!("it is for targets of kind {}", words.join(", "))));
    }
    if !kinds.contains(&target.kind) {
        return Err(Problem::new(format!("{target} has to be opened first"))
            .hint("choose an open one with ← →; murphy agent --proxy and murphy mount open others"));
    }
    match TargetSpec::implied(&target) {
        Some(_) => Ok(target),
        None => Err(Problem::new(format!("{target} does not say where it is")).hint("give its whole path")),
    }
}

/// What is missing when no target fits.
pub fn no_target(def: &FaultDef) -> Problem {
    let kinds: Vec<&str> = def.targets.iter().map(|k| k.word()).collect();
    let what = match def.layer {
        Layer::Requests => "a proxy with protocol: http".to_owned(),
        Layer::Tls => "a proxy with tls: {downstream: terminate} or pass_through".to_owned(),
        _ => format!("one of kind {}", kinds.join(" or ")),
    };
    Problem::new(format!("no open target fits {}", def.name)).hint(format!("it needs {what}"))
}

/// Reads `all`, `30%`, `every 3`, `first 10`.
pub fn share(text: &str) -> Result<(Share, Option<Per>), Problem> {
    match text.split_once(" per ") {
        Some((share, per)) => Ok((share_alone(share)?, Some(per.trim().parse()?))),
        None => Ok((share_alone(text)?, None)),
    }
}

fn share_alone(text: &str) -> Result<Share, Problem> {
    let text = text.trim();
    let count = |n: &str| n.trim().trim_end_matches('.').parse::<u64>().ok().filter(|n| *n > 0);
    let wrong = || {
        Problem::new(format!("{text:?} is not a share"))
            .hint("write all, 30%, every 3, first 10 or first 10 per client")
    };
    match text {
        "" | "all" => Ok(Share::All),
        _ if text.starts_with("every") => count(&text[5..]).map(Share::Nth).ok_or_else(wrong),
        _ if text.starts_with("first") => count(&text[5..]).map(Share::First).ok_or_else(wrong),
        _ if text.ends_with('%') => {
            text.parse::<Percent>().map(Share::Percent).map_err(|e| Problem::new(e.to_string()))
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::catalogue;

    fn form(name: &str, target: &str) -> Form {
        let mut form = Form::default();
        form.open(catalogue::find(name).unwrap());
        form.target = Some((0, target.parse().unwrap()));
        form
    }

    fn type_in(form: &mut Form, name: &str, text: &str) {
        let field = form.fields.iter_mut().find(|f| f.name() == name).unwrap();
        field.input = Input::new(text.to_owned());
    }

    #[test]
    fn every_form_is_right_as_it_opens() {
        for def in catalogue::all() {
            let form = form(def.name, &format!("{}:x", def.targets[0]));
            let fault = form.fault().unwrap_or_else(|e| panic!("{}: {e:?}", def.name));
            assert_eq!(fault.inject.name(), def.name);
        }
    }

    #[test]
    fn what_is_wrong_is_said_where_it_is() {
        let mut f = form("latency", "proxy:cart");
        type_in(&mut f, "delay", "120");
        type_in(&mut f, "share", "140%");
        type_in(&mut f, "when", "path=/a");
        let wrong = f.fault().unwrap_err();
        let names: Vec<&str> = wrong.iter().map(|(i, _)| f.fields[*i].name()).collect();
        assert_eq!(names, ["delay", "share"]);
        type_in(&mut f, "delay", "120ms");
        type_in(&mut f, "share", "every 3");
        let wrong = f.fault().unwrap_err();
        assert_eq!(f.fields[wrong[0].0].name(), "when", "{wrong:?}");
        type_in(&mut f, "when", "client=10.0.0.0/8");
        assert_eq!(f.fault().unwrap().share, Share::Nth(3));
        type_in(&mut f, "lease", "1s");
        assert!(f.fault().unwrap_err()[0].1.to_string().contains("between two renewals"));
    }

    #[test]
    fn drafts_come_back() {
        let mut f = form("latency", "proxy:cart");
        type_in(&mut f, "delay", "7ms");
        f.open(catalogue::find("abort").unwrap());
        f.open(catalogue::find("latency").unwrap());
        assert_eq!(f.text(f.fields[1].asks), "7ms");
    }

    #[test]
    fn arrows_step_through_words_and_shares() {
        let mut f = form("latency", "proxy:cart");
        f.at = f.fields.iter().position(|f| f.name() == "direction").unwrap();
        assert!(f.step(1));
        assert_eq!(f.field().unwrap().input.value(), "up");
        f.at = f.fields.iter().position(|f| f.name() == "share").unwrap();
        assert!(f.step(1) && f.field().unwrap().input.value() == "all");
        assert!(f.step(-1) && f.field().unwrap().input.value() == "90%");
        f.at = 1;
        assert!(!f.step(1), "a typed field has no steps");
    }
}
