//! The recovery as a picture: base backup, WAL, incident, target, and the timeline that branches off.

use std::fmt::Write;

use super::document::Recovery;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 24.0;
const RIGHT: f64 = 24.0;
/// The line of the old timeline, and of the new one.
const OLD: f64 = 120.0;
const NEW: f64 = 56.0;
/// Nothing is drawn closer together than this, however close it is in the WAL.
const GAP: f64 = 92.0;

/// The SVG, without a width of its own: it fills what it is put into.
pub fn picture(recovery: &Recovery) -> String {
    let places = Places::of(recovery);
    let mut out = format!(
        "<svg class=\"picture\" viewBox=\"0 0 {WIDTH} 190\" role=\"img\" aria-label=\"{}\">",
        escape(&caption(recovery))
    );
    old_timeline(&mut out, recovery, &places);
    new_timeline(&mut out, recovery, &places);
    out.push_str("</svg>");
    out
}

/// The picture in words, for those who cannot see it.
pub fn caption(recovery: &Recovery) -> String {
    let mut text = format!(
        "Base backup {} ({} to {}), WAL replayed to {}, timeline {} branches off timeline {}",
        recovery.backup,
        recovery.backup_start_lsn,
        recovery.backup_stop_lsn,
        recovery.reached_lsn,
        recovery.timeline,
        recovery.parent_timeline
    );
    if let Some(next) = &recovery.next_commit {
        let _ = write!(
            text,
            "; the first commit not replayed is transaction {} at {}",
            next.xid, next.lsn
        );
    }
    text
}

/// Where things are drawn.
struct Places {
    backup_start: f64,
    backup_stop: f64,
    reached: f64,
    incident: Option<f64>,
    end: f64,
}

impl Places {
    fn of(recovery: &Recovery) -> Places {
        let incident = recovery
            .next_commit
            .as_ref()
            .and_then(|commit| lsn(&commit.lsn));
        let reached = lsn(&recovery.reached_lsn);
        let known = [
            lsn(&recovery.backup_start_lsn),
            lsn(&recovery.backup_stop_lsn),
            reached,
            incident,
            recovery.last_wal_lsn.as_deref().and_then(lsn),
        ];
        let first = known.iter().flatten().min().copied().unwrap_or(0);
        let last = known
            .iter()
            .flatten()
            .max()
            .copied()
            .unwrap_or(1)
            .max(first + 1);
        let scale = |at: Option<u64>| {
            let share = at.map_or(0.0, |at| (at - first) as f64 / (last - first) as f64);
            LEFT + share * (WIDTH - LEFT - RIGHT - 60.0)
        };
        // From the left: each thing is at its place, or a gap further right.
        let backup_start = scale(known[0]);
        let backup_stop = scale(known[1]).max(backup_start + GAP);
        let reached_at = scale(reached).clamp(backup_stop + GAP, WIDTH - 2.6 * GAP);
        let incident = incident.map(|at| scale(Some(at)).max(reached_at + GAP));
        let end = (WIDTH - RIGHT).max(incident.unwrap_or(0.0));
        Places {
            backup_start,
            backup_stop,
            reached: reached_at,
            incident,
            end,
        }
    }
}

fn old_timeline(out: &mut String, recovery: &Recovery, at: &Places) {
    let _ = write!(
        out,
        "<line class=\"wal done\" x1=\"{}\" y1=\"{OLD}\" x2=\"{}\" y2=\"{OLD}\"/>\
         <line class=\"wal given-up\" x1=\"{}\" y1=\"{OLD}\" x2=\"{}\" y2=\"{OLD}\"/>",
        at.backup_start, at.reached, at.reached, at.end
    );
    let _ = write!(
        out,
        "<rect class=\"backup\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"16\" rx=\"4\"/>",
        at.backup_start,
        OLD - 8.0,
        at.backup_stop - at.backup_start
    );
    label(
        out,
        at.backup_start,
        OLD + 30.0,
        "start",
        &format!("base backup {}", recovery.backup),
        &recovery.backup_stop_lsn,
    );
    let _ = write!(
        out,
        "<circle class=\"target\" cx=\"{}\" cy=\"{OLD}\" r=\"6\"/>",
        at.reached
    );
    label(
        out,
        at.reached,
        OLD + 30.0,
        "middle",
        "recovered to",
        &recovery.reached_lsn,
    );
    if let (Some(x), Some(next)) = (at.incident, &recovery.next_commit) {
        let (top, bottom) = (OLD - 9.0, OLD + 9.0);
        let _ = write!(
            out,
            "<path class=\"incident\" d=\"M{} {top} L{} {bottom} M{} {bottom} L{} {top}\"/>",
            x - 9.0,
            x + 9.0,
            x - 9.0,
            x + 9.0
        );
        label(
            out,
            at.end,
            OLD + 30.0,
            "end",
            "not replayed: transaction",
            &format!("{} at {}", next.xid, next.lsn),
        );
    }
    let _ = write!(
        out,
        "<text class=\"small\" x=\"{}\" y=\"{}\" text-anchor=\"end\">timeline {}</text>",
        at.end,
        OLD - 14.0,
        recovery.parent_timeline
    );
}

fn new_timeline(out: &mut String, recovery: &Recovery, at: &Places) {
    if recovery.timeline == recovery.parent_timeline {
        return;
    }
    let bend = at.reached + 46.0;
    let _ = write!(
        out,
        "<path class=\"wal new\" d=\"M{} {OLD} C {} {OLD} {} {NEW} {bend} {NEW} L {} {NEW}\"/>",
        at.reached,
        at.reached + 30.0,
        at.reached + 16.0,
        at.end
    );
    let _ = write!(
        out,
        "<text class=\"small\" x=\"{}\" y=\"{}\" text-anchor=\"end\">timeline {}: {} goes on from here</text>",
        at.end,
        NEW - 12.0,
        recovery.timeline,
        escape(&recovery.node)
    );
}

fn label(out: &mut String, x: f64, y: f64, anchor: &str, first: &str, second: &str) {
    let _ = write!(
        out,
        "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{}<tspan class=\"small\" x=\"{x}\" dy=\"17\">{}</tspan></text>",
        escape(first),
        escape(second)
    );
}

fn lsn(text: &str) -> Option<u64> {
    text.parse::<crate::wal::Lsn>().ok().map(|lsn| lsn.0)
}

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
