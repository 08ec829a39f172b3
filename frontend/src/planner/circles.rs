//! Stages that need each other.

use super::Planner;
use crate::diagnostic::Diagnostic;
use std::collections::{BTreeMap, BTreeSet, HashMap};

impl Planner<'_> {
    /// A circle is found by taking away, again and again, what needs nothing that is left.
    pub(super) fn refuse_circles(&self, needed: &BTreeSet<usize>) -> Result<(), Diagnostic> {
        let mut users: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut open: BTreeMap<usize, usize> = BTreeMap::new();
        for &index in needed {
            let needs = self.needs(index);
            open.insert(index, needs.len());
            needs.into_iter().for_each(|need| users.entry(need).or_default().push(index));
        }
        let mut free: Vec<usize> = open.iter().filter(|(_, count)| **count == 0).map(|(index, _)| *index).collect();
        while let Some(index) = free.pop() {
            open.remove(&index);
            for user in users.remove(&index).unwrap_or_default() {
                if let Some(count) = open.get_mut(&user) {
                    *count -= 1;
                    if *count == 0 {
                        free.push(user);
                    }
                }
            }
        }
        match open.keys().next() {
            None => Ok(()),
            Some(&index) => {
                let message = format!("circular dependency detected on stage: {}", self.stage_name(index));
                let error = Diagnostic::error("circular", message, Some(self.stages[index].line.span.clone()));
                Err(error.note(self.circle(index, &open)).help("take the files from a stage before both"))
            }
        }
    }

    /// The way from a stage of a circle back to where it meets itself, in words.
    fn circle(&self, start: usize, open: &BTreeMap<usize, usize>) -> String {
        const MOST_SHOWN: usize = 10;
        let (mut way, mut at) = (vec![self.stage_name(start)], start);
        let mut seen = BTreeSet::from([start]);
        while let Some(next) = self.needs(at).into_iter().find(|need| open.contains_key(need)) {
            way.push(self.stage_name(next));
            at = next;
            if !seen.insert(next) || way.len() > MOST_SHOWN {
                break;
            }
        }
        format!("it needs {}", way[1..].join(", which needs "))
    }
}
