//! The formats by name: what a line, a message body or a record's value says.

use lapwing_telemetry::Finding;

use crate::{Context, cef, ecs, leef, ndjson, ocsf};

/// What a line, a message body or a record's value says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// [`ndjson`](crate::ndjson()): the finding as flat JSON.
    #[default]
    Native,
    /// [`ocsf()`](crate::ocsf()): OCSF 1.8 Detection Finding.
    Ocsf,
    /// [`ecs()`](crate::ecs()): Elastic Common Schema.
    Ecs,
    /// [`cef()`](crate::cef()): ArcSight Common Event Format.
    Cef,
    /// [`leef()`](crate::leef()): IBM Log Event Extended Format 2.0.
    Leef,
}

impl Format {
    /// Its name in configuration and documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Native => "native",
            Format::Ocsf => "ocsf",
            Format::Ecs => "ecs",
            Format::Cef => "cef",
            Format::Leef => "leef",
        }
    }

    /// The finding on one line, without the line break.
    pub fn line(self, finding: &Finding, context: &Context) -> String {
        match self {
            Format::Native => ndjson(finding),
            Format::Ocsf => ocsf(finding, context).to_string(),
            Format::Ecs => ecs(finding, context).to_string(),
            Format::Cef => cef(finding, context),
            Format::Leef => leef(finding, context),
        }
    }

    /// As [`Format::line`], with evidence left out until it has at most `max_bytes`; text is never cut, so
    /// it may be longer even so.
    pub fn line_within(self, finding: &Finding, context: &Context, max_bytes: usize) -> String {
        if self == Format::Ocsf {
            let mut event = ocsf(finding, context);
            ocsf::fit(&mut event, max_bytes);
            return event.to_string();
        }
        let line = self.line(finding, context);
        if line.len() <= max_bytes || finding.exemplars.is_empty() {
            return line;
        }
        let mut shorter = finding.clone();
        shorter.exemplars.pop();
        self.line_within(&shorter, context, max_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{context, finding};

    #[test]
    fn evidence_makes_room_and_text_is_never_cut() {
        let mut claim = finding();
        claim.exemplars = vec![claim.exemplars[0].clone(); 5];
        for format in [Format::Native, Format::Ocsf, Format::Ecs] {
            let whole = format.line(&claim, &context());
            let short = format.line_within(&claim, &context(), whole.len() - 1);
            assert!(short.len() < whole.len(), "{}", format.as_str());
            assert!(short.contains(&claim.explanation));
            let value: serde_json::Value = serde_json::from_str(&short).unwrap();
            assert!(value.is_object());
            assert_eq!(format.line_within(&claim, &context(), usize::MAX), whole);
        }
        let none = Format::Cef.line_within(&claim, &context(), 1);
        assert!(none.contains(&claim.explanation) && !none.contains("requestMethod"));
    }
}
