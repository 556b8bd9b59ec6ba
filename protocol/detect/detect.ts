import type { Json } from '../encoding/jcs.ts';
import type { GateRequest } from '../policy/gate.ts';
import type { Finding } from './finding.ts';
import { type DataLabels, dataLabels, type Label } from './labels.ts';
import { scanValue } from './walk.ts';

/**
 * What is found in all texts of a value, names of members included, in the order of the value. It marks what is known
 * to it and proves nothing by finding nothing: a secret without a known form, words taken apart, or an order to a model
 * in words of its own are not seen. Never throws; takes time in proportion to the value.
 */
export function detect(value: Json): Finding[] {
  const findings: Finding[] = [];
  scanValue(value, (finding) => findings.push(finding));
  return findings;
}

/** The same, for decisions. */
export function labelsOf(value: Json): DataLabels {
  const labels = new Set<Label>();
  scanValue(value, ({ label }) => labels.add(label));
  return dataLabels(labels);
}

/** Of all that a request says beside names: what every gate looks at. */
export const labelsOfRequest = ({ tool, prompt, facts, resource }: GateRequest): DataLabels =>
  labelsOf([tool?.arguments, prompt?.arguments, facts, resource?.uri].filter((part) => part !== undefined));
