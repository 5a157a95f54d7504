//! Colours by what they mean. Without colours every meaning keeps a sign, or reverse, bold and dim.

use crate::state::Look;
use crate::tell::Weight;
use ratatui::style::{Color, Modifier, Style};

/// Styles for one look.
#[derive(Debug, Clone, Copy)]
pub struct Theme {
    light: bool,
    mono: bool,
}

impl Theme {
    /// The styles of a look.
    pub fn new(look: Look) -> Theme {
        Theme { light: look.light, mono: look.mono }
    }

    /// A colour for dark and one for light backgrounds; none at all without colours.
    fn fg(self, dark: Color, light: Color) -> Style {
        if self.mono { Style::new() } else { Style::new().fg(if self.light { light } else { dark }) }
    }

    /// What matters less.
    pub fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Headings and names.
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The selected row, and keys in the bar.
    pub fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// The selected row of a panel that has not the keys.
    pub fn marked(self) -> Style {
        if self.mono {
            Style::new().add_modifier(Modifier::UNDERLINED)
        } else {
            Style::new().bg(Color::Indexed(if self.light { 252 } else { 238 }))
        }
    }

    /// Frames of panels, and of the one that has the keys.
    pub fn frame(self, focused: bool) -> Style {
        if focused {
            self.fg(Color::Cyan, Color::Blue).add_modifier(Modifier::BOLD).remove_modifier(Modifier::DIM)
        } else {
            // Over a neighbour's frame, nothing of its style may stay.
            Self::plain().add_modifier(Modifier::DIM)
        }
    }

    /// The titles of panels.
    pub fn title(self, focused: bool) -> Style {
        if focused { Self::plain().add_modifier(Modifier::BOLD) } else { Self::plain() }
    }

    /// As the terminal writes by itself, whatever was there before.
    fn plain() -> Style {
        Style::new().fg(Color::Reset).remove_modifier(Modifier::BOLD | Modifier::DIM)
    }

    /// Something is on, or wrong.
    pub fn bad(self) -> Style {
        self.fg(Color::LightRed, Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Look at it.
    pub fn warn(self) -> Style {
        self.fg(Color::Yellow, Color::Indexed(130)).add_modifier(Modifier::BOLD)
    }

    /// All is well.
    pub fn good(self) -> Style {
        self.fg(Color::Green, Color::Indexed(28))
    }

    /// White on red: halt, and halted.
    pub fn alarm(self) -> Style {
        if self.mono {
            Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD)
        } else {
            Style::new().fg(Color::Indexed(231)).bg(Color::Indexed(160)).add_modifier(Modifier::BOLD)
        }
    }

    /// The 99th percentile.
    pub fn p99(self) -> Style {
        self.fg(Color::LightCyan, Color::Indexed(25))
    }

    /// The median.
    pub fn p50(self) -> Style {
        self.fg(Color::Green, Color::Indexed(71))
    }

    /// Failed requests.
    pub fn errors(self) -> Style {
        self.fg(Color::LightMagenta, Color::Indexed(127))
    }

    /// Requests per second.
    pub fn rate(self) -> Style {
        self.fg(Color::LightBlue, Color::Indexed(26))
    }

    /// Bounds.
    pub fn bound(self) -> Style {
        self.fg(Color::Yellow, Color::Indexed(130))
    }

    /// Columns in which a fault was on, or still is. Lanes under the plots say the same without colour.
    pub fn shade(self, live: bool) -> Style {
        match (self.mono, self.light, live) {
            (true, ..) => Style::new(),
            (_, true, true) => Style::new().bg(Color::Indexed(253)),
            (_, true, false) => Style::new().bg(Color::Indexed(255)),
            (_, false, true) => Style::new().bg(Color::Indexed(236)),
            (_, false, false) => Style::new().bg(Color::Indexed(234)),
        }
    }

    /// By how much a line matters.
    pub fn weight(self, weight: Weight) -> Style {
        match weight {
            Weight::Plain => self.strong(),
            Weight::Armed => self.fg(Color::LightMagenta, Color::Indexed(127)).add_modifier(Modifier::BOLD),
            Weight::Good => self.good().add_modifier(Modifier::BOLD),
            Weight::Warn => self.warn(),
            Weight::Bad => self.bad(),
        }
    }
}
