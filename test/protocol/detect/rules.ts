import type { OutputAction, OutputRules } from '../../../protocol/policy/decision.ts';

const all = (action: OutputAction): OutputRules => ({
  secrets: action,
  pii: action,
  phi: action,
  cards: action,
  instructions: action,
  invisible: action,
  bytesMax: 10_000_000,
});
export const ALLOW: OutputRules = all('allow');
export const MARK: OutputRules = all('mark');
export const REDACT: OutputRules = all('redact');
export const REFUSE: OutputRules = all('refuse');
