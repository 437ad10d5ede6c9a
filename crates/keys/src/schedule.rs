//! When something is to be done again and again: five cron fields, or names for such.

/// A minute of UTC, as cron(5) counts: months from 1, days of the week from 0, which is Sunday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Minute {
    pub minute: u32,
    pub hour: u32,
    pub day: u32,
    pub month: u32,
    pub weekday: u32,
}

/// A parsed schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    crons: Vec<Cron>,
    /// Also when the instance starts.
    pub at_start: bool,
}

/// For each field a set of its values, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether day and day of the week are both restricted: then either of them is enough.
    either_day: bool,
}

/// Name and fields.
const NAMES: &[(&str, &str)] = &[
    ("@annually", "0 0 1 1 *"),
    ("@daily", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
    ("@midnight", "0 0 * * *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@yearly", "0 0 1 1 *"),
];

impl Schedule {
    /// Parses five fields, or names with commas between.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut schedule = Self::default();
        if !text.starts_with('@') {
            schedule.crons.push(Cron::parse(text).ok_or_else(|| bad(text))?);
            return Ok(schedule);
        }
        for name in text.split(',').map(str::trim) {
            match NAMES.iter().find(|(known, _)| *known == name) {
                Some((_, fields)) => schedule.crons.extend(Cron::parse(fields)),
                None if name == "@startup" => schedule.at_start = true,
                None if name == "@never" => {}
                None => return Err(bad(text)),
            }
        }
        Ok(schedule)
    }

    /// The same for what never starts.
    pub fn parse_without_start(text: &str) -> Result<Self, String> {
        let schedule = Self::parse(text)?;
        if schedule.at_start { Err(format!("{}: a volume does not start", bad(text))) } else { Ok(schedule) }
    }

    /// Whether it is due in this minute.
    pub fn is_due(&self, now: Minute) -> bool {
        self.crons.iter().any(|cron| cron.is_due(now))
    }
}

fn bad(text: &str) -> String {
    format!("Invalid schedule: {}", text.escape_debug())
}

impl Cron {
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else { return None };
        let week = parse_field(weekdays, 0, 7)?;
        Some(Self {
            minutes: parse_field(minutes, 0, 59)?,
            hours: parse_field(hours, 0, 23)?,
            days: parse_field(days, 1, 31)?,
            months: parse_field(months, 1, 12)?,
            // Sunday is 0 and 7.
            weekdays: week | (week >> 7 & 1),
            either_day: !days.starts_with('*') && !weekdays.starts_with('*'),
        })
    }

    fn is_due(&self, now: Minute) -> bool {
        let has = |set: u64, value: u32| set >> value & 1 == 1;
        let (day, weekday) = (has(self.days, now.day), has(self.weekdays, now.weekday));
        let is_day = if self.either_day { day || weekday } else { day && weekday };
        has(self.minutes, now.minute) && has(self.hours, now.hour) && has(self.months, now.month) && is_day
    }
}

/// `*`, `5`, `1-5`, `*/10`, `10-50/5`, and lists of these.
fn parse_field(text: &str, low: u32, high: u32) -> Option<u64> {
    let mut set = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(number(step)?)),
            None => (part, None),
        };
        let (first, last) = match (range, range.split_once('-')) {
            ("*", _) => (low, high),
            (_, Some((first, last))) => (number(first)?, number(last)?),
            (single, None) => (number(single)?, if step.is_some() { high } else { number(single)? }),
        };
        let step = step.unwrap_or(1);
        if first < low || last > high || first > last || step == 0 {
            return None;
        }
        set |= (first..=last).step_by(step as usize).fold(0, |bits, value| bits | 1 << value);
    }
    Some(set)
}

fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Minute = Minute { minute: 0, hour: 12, day: 15, month: 6, weekday: 3 };

    fn due(text: &str, now: Minute) -> bool {
        Schedule::parse(text).expect(text).is_due(now)
    }

    #[test]
    fn fields() {
        assert!(due("* * * * *", NOON) && due("0 12 * * *", NOON) && due("*/15 10-14/2 * 6 *", NOON) && due("0,30 12 * * 1-5", NOON));
        assert!(!due("1 12 * * *", NOON) && !due("0 11-13/2 * * *", NOON) && !due("0 12 * 7 *", NOON));
        // Both days restricted: either is enough.
        assert!(due("0 12 1 * 3", NOON) && due("0 12 15 * 0", NOON) && !due("0 12 1 * 0", NOON));
        let sunday = Minute { weekday: 0, ..NOON };
        assert!(due("0 12 * * 7", sunday) && due("0 12 * * 0", sunday) && !due("0 12 * * 7", NOON));
    }

    #[test]
    fn names() {
        let midnight = Minute { hour: 0, ..NOON };
        assert!(due("@hourly", NOON) && !due("@daily", NOON) && due("@daily", midnight) && !due("@monthly", midnight));
        assert!(due("@weekly, @hourly", NOON) && !due("@never", midnight) && !due("@startup", midnight));
        assert!(Schedule::parse("@hourly,@startup").expect("both").at_start);
    }

    #[test]
    fn nonsense() {
        for text in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* * 0 * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "@sometimes",
            "+1 * * * *",
            "1- * * * *",
        ] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }
}
