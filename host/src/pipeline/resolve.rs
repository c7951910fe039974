//! Names against what there is: stages of plugins, outputs, inputs, order.

use std::collections::BTreeMap;
use std::path::Path;

use stage_api::Signature;

use super::graph;
use super::params::ParamsCheck;
use super::problem::{Problem, article};
use super::raw::{RawPipeline, RawStage};
use super::source::{Located, Span};
use super::{Offer, OutputRef, ResolvedStage};

/// Looks up everything that the pipeline names, in an order in which it can run.
pub fn resolve(
    raw: &RawPipeline,
    offers: &[Offer],
    base_dir: &Path,
    problems: &mut Vec<Located<Problem>>,
) -> Vec<ResolvedStage> {
    let mut resolver = Resolver { raw, offers: BTreeMap::new(), problems };
    for stage in &raw.stages {
        if let Some(offer) = resolver.offer(stage, offers) {
            resolver.offers.insert(&stage.name.value, offer);
        }
    }
    let mut stages: Vec<Option<ResolvedStage>> = raw.stages.iter().map(|s| resolver.stage(s, base_dir)).collect();
    let order = resolver.order();
    order.into_iter().filter_map(|i| stages[i].take()).collect()
}

struct Resolver<'a> {
    raw: &'a RawPipeline,
    /// What each stage uses, where that is known.
    offers: BTreeMap<&'a str, &'a Offer>,
    problems: &'a mut Vec<Located<Problem>>,
}

impl<'a> Resolver<'a> {
    fn offer(&mut self, stage: &RawStage, offers: &'a [Offer]) -> Option<&'a Offer> {
        let uses = &stage.uses.value;
        let fits = |o: &&Offer| match uses.split_once('/') {
            Some((plugin, id)) => o.plugin == plugin && o.signature.id == id,
            None => o.signature.id == *uses,
        };
        let found: Vec<&Offer> = offers.iter().filter(fits).collect();
        let problem = match found.as_slice() {
            [one] => return Some(one),
            [] => {
                let mut known: Vec<String> = offers.iter().map(|o| o.signature.id.clone()).collect();
                known.sort();
                known.dedup();
                Problem::UnknownUses { uses: uses.clone(), known }
            }
            several => {
                let choices = several.iter().map(|o| format!("{}/{}", o.plugin, o.signature.id)).collect();
                Problem::AmbiguousUses { uses: uses.clone(), choices }
            }
        };
        self.report(problem, &stage.uses.span);
        None
    }

    fn stage(&mut self, stage: &RawStage, base_dir: &Path) -> Option<ResolvedStage> {
        let offer = self.offers.get(stage.name.value.as_str()).copied();
        let inputs = self.inputs(stage, offer.map(|o| &o.signature));
        let after: Vec<String> = stage.after.iter().filter_map(|a| self.known_stage(a)).collect();
        let offer = offer?;
        let check =
            ParamsCheck { uses: &offer.signature.id, schema: &offer.signature.params, with: &stage.with, base_dir };
        let (params, problems) = check.run();
        self.problems.extend(problems);
        Some(ResolvedStage { name: stage.name.value.clone(), offer: offer.clone(), inputs, after, params })
    }

    fn inputs(&mut self, stage: &RawStage, signature: Option<&Signature>) -> BTreeMap<String, OutputRef> {
        let mut inputs = BTreeMap::new();
        for (port, from) in &stage.inputs {
            let source = self.output(from);
            let Some(signature) = signature else { continue };
            let Some(declared) = signature.inputs.iter().find(|p| p.name == port.value) else {
                let known = signature.inputs.iter().map(|p| p.name.clone()).collect();
                let problem = Problem::UnknownInput { uses: signature.id.clone(), port: port.value.clone(), known };
                self.report(problem, &port.span);
                continue;
            };
            let Some((source, kind)) = source else { continue };
            if kind != declared.kind {
                let problem = Problem::WrongKind {
                    port: port.value.clone(),
                    from: from.value.clone(),
                    got: article(&kind),
                    expected: article(&declared.kind),
                };
                self.report(problem, &from.span);
            }
            inputs.insert(port.value.clone(), source);
        }
        self.missing_inputs(stage, signature);
        inputs
    }

    fn missing_inputs(&mut self, stage: &RawStage, signature: Option<&Signature>) {
        let given = |name: &str| stage.inputs.iter().any(|(port, _)| port.value == name);
        for port in signature.into_iter().flat_map(|s| &s.inputs).filter(|p| !p.optional && !given(&p.name)) {
            let problem = Problem::MissingInput {
                stage: stage.name.value.clone(),
                port: port.name.clone(),
                kind: port.kind.clone(),
                summary: port.summary.clone(),
            };
            self.report(problem, &stage.name.span);
        }
    }

    /// `"stage"` is its first declared output, `"stage.output"` the one named. Also gives the output's kind.
    fn output(&mut self, from: &Located<String>) -> Option<(OutputRef, String)> {
        let (name, output) = match from.value.split_once('.') {
            Some((name, output)) => (name, Some(output)),
            None => (from.value.as_str(), None),
        };
        let stage = self.known_stage(&Located::new(name.to_owned(), from.span.clone()))?;
        let signature = &self.offers.get(stage.as_str())?.signature;
        let port = match output {
            None => signature.outputs.first(),
            Some(output) => signature.outputs.iter().find(|p| p.name == output),
        };
        match (port, output) {
            (Some(port), _) => Some((OutputRef { stage, output: port.name.clone() }, port.kind.clone())),
            (None, Some(output)) if !signature.outputs.is_empty() => {
                let known = signature.outputs.iter().map(|p| p.name.clone()).collect();
                self.report(Problem::UnknownOutput { stage, output: output.into(), known }, &from.span);
                None
            }
            (None, _) => {
                self.report(Problem::NoOutput { stage }, &from.span);
                None
            }
        }
    }

    fn known_stage(&mut self, name: &Located<String>) -> Option<String> {
        if self.raw.stages.iter().any(|s| s.name.value == name.value) {
            return Some(name.value.clone());
        }
        let known = self.raw.stages.iter().map(|s| s.name.value.clone()).collect();
        self.report(Problem::UnknownStage { name: name.value.clone(), known }, &name.span);
        None
    }

    fn order(&mut self) -> Vec<usize> {
        let stages = &self.raw.stages;
        let index = |name: &str| stages.iter().position(|s| s.name.value == name);
        let needs: Vec<Vec<usize>> = stages
            .iter()
            .map(|s| {
                let data = s.inputs.iter().map(|(_, from)| from.value.split('.').next().unwrap_or_default());
                data.chain(s.after.iter().map(|a| a.value.as_str())).filter_map(index).collect()
            })
            .collect();
        match graph::order(&needs) {
            Ok(order) => order,
            Err(circle) => {
                let path = circle.iter().map(|&i| stages[i].name.value.clone()).collect();
                let span = stages[circle[0]].name.span.clone();
                self.report(Problem::Cycle { path }, &span);
                Vec::new()
            }
        }
    }

    fn report(&mut self, problem: Problem, span: &Span) {
        self.problems.push(Located::new(problem, span.clone()));
    }
}
