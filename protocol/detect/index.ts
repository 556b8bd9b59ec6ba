/**
 * Detectors: what data holds, and what is done about it by output rules (SPEC "Labels and output rules"). They know what
 * they know: a finding is a reason to look, the lack of one is no proof of absence.
 */
export { LABELS, type Label, type LabelClass, type DataLabels, isLabel, classOf } from './labels.ts';
export type { Finding } from './finding.ts';
export { detect, labelsOf, labelsOfRequest } from './detect.ts';
export { applyOutput, type OutputResult, type RefusalLabel } from './output.ts';
export { findingsOfDefinition, similarNames, type SimilarName } from './definition.ts';
