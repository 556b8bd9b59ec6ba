/** Decision points outside the daemon, by the type that a policy names. */
import type { DecisionPoint, ExternalPoint } from '../../protocol/policy/index.ts';
import { createCedarPoint } from './cedar.ts';
import { createOpaPoint } from './opa.ts';

/** Errors: policy_invalid. */
export const createDecisionPoint = (external: ExternalPoint): DecisionPoint =>
  external.type === 'cedar' ? createCedarPoint(external) : createOpaPoint(external);
