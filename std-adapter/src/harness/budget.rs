//! What a user demands of a measurement: `frame>=85`, `kl<=0.02`.

use std::fmt;
use std::str::FromStr;

/// A measured number must lie on one side of a limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// Name of the number.
    pub name: String,
    relation: Relation,
    limit: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    AtLeast,
    AtMost,
    Above,
    Below,
}

/// Two signs before one: `>` begins `>=`.
const RELATIONS: [(&str, Relation); 4] = [
    (">=", Relation::AtLeast),
    ("<=", Relation::AtMost),
    (">", Relation::Above),
    ("<", Relation::Below),
];

/// A budget is not written as one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no budget; write a name, one of >= <= > <, and a number, such as frame>=85")]
pub struct BudgetError(String);

impl FromStr for Budget {
    type Err = BudgetError;

    fn from_str(text: &str) -> Result<Self, BudgetError> {
        let no = || BudgetError(text.to_owned());
        let at = text.find(['<', '>']).ok_or_else(no)?;
        let (name, rest) = text.split_at(at);
        let found = RELATIONS
            .into_iter()
            .find_map(|(sign, relation)| Some((relation, rest.strip_prefix(sign)?)));
        let (relation, limit) = found.ok_or_else(no)?;
        let limit: f64 = limit.trim().trim_end_matches('%').trim().parse().map_err(|_| no())?;
        let name = name.trim().to_owned();
        if name.is_empty() || !limit.is_finite() {
            return Err(no());
        }
        Ok(Self { name, relation, limit })
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = RELATIONS.iter().find(|(_, r)| *r == self.relation).map_or("", |(sign, _)| sign);
        write!(f, "{} {sign} {}", self.name, self.limit)
    }
}

impl Budget {
    /// Whether a number is within it. What is no number is not.
    #[must_use]
    pub fn holds(&self, value: f64) -> bool {
        match self.relation {
            Relation::AtLeast => value >= self.limit,
            Relation::AtMost => value <= self.limit,
            Relation::Above => value > self.limit,
            Relation::Below => value < self.limit,
        }
    }

    /// Checks that there is a number of every budget's name among `names`.
    ///
    /// # Errors
    /// A sentence with the names that there are.
    pub fn check_names(budgets: &[Self], names: &[String]) -> Result<(), String> {
        match budgets.iter().find(|budget| !names.contains(&budget.name)) {
            None => Ok(()),
            Some(budget) => Err(format!(
                "--budget {}: nothing of that name is measured here; there are {}",
                budget.name,
                names.join(", ")
            )),
        }
    }

    /// A sentence about the budgets that are missed, if any is.
    #[must_use]
    pub fn missed(budgets: &[Self], measured: &[(String, f64)]) -> Option<String> {
        let value =
            |budget: &Self| measured.iter().find(|(name, _)| *name == budget.name).map(|(_, v)| *v);
        let missed: Vec<String> = budgets
            .iter()
            .filter(|budget| !value(budget).is_some_and(|value| budget.holds(value)))
            .map(|budget| match value(budget) {
                Some(value) => format!("{budget} is missed: {} is {value}", budget.name),
                None => format!("{budget} is missed: {} could not be measured", budget.name),
            })
            .collect();
        (!missed.is_empty()).then(|| format!("budget {}", missed.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_read_and_decide() {
        let budget = |text: &str| text.parse::<Budget>().unwrap();
        assert!(budget("frame>=85").holds(85.0) && !budget("frame>85").holds(85.0));
        assert!(budget("kl <= 0.02").holds(0.02) && !budget("kl<0.02").holds(0.02));
        assert!(budget("a>=97%").holds(97.0));
        assert!(!budget("kl<=1").holds(f64::NAN) && !budget("kl>=1").holds(f64::NAN));
        assert_eq!(budget("same-top>=97.5").to_string(), "same-top >= 97.5");
        for bad in [
            "",
            "frame",
            "frame=85",
            ">=85",
            "frame>=",
            "frame>=x",
            "frame>==8",
            "f>=inf",
            "f>=nan",
        ] {
            assert!(bad.parse::<Budget>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_missed_is_named() {
        let budgets = ["kl<=0.02", "same-top>=97", "gone>0"].map(|text| text.parse().unwrap());
        let measured = [("kl".to_owned(), 0.03), ("same-top".to_owned(), 98.0)];
        let said = Budget::missed(&budgets, &measured).unwrap();
        assert_eq!(
            said,
            "budget kl <= 0.02 is missed: kl is 0.03; gone > 0 is missed: gone could not be measured"
        );
        assert_eq!(Budget::missed(&budgets[1..2], &measured), None);
        let names = ["kl".to_owned(), "same-top".to_owned()];
        assert!(Budget::check_names(&budgets, &names).unwrap_err().contains("kl, same-top"));
        assert_eq!(Budget::check_names(&budgets[..2], &names), Ok(()));
    }
}
