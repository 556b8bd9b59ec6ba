/** Policies and requests for the tests. */
import {
  compilePolicies,
  contextOf,
  type Decision,
  type Detected,
  type GateRequest,
  parsePolicy,
  type ParsePolicyOptions,
  type Policy,
  type PolicyContext,
} from '../../../protocol/policy/index.ts';

/** As the seed prints it. */
export const SEED = `# policy.yaml
version: "1.0"
agent: "data-analyst-agent"

rules:
  - name: "no-pii-export"
    condition: "action.type == 'export' and data.contains_pii"
    action: "deny"
    
  - name: "rate-limit-api"
    condition: "action.type == 'api_call'"
    limit: "100/hour"
    
  - name: "require-approval-for-delete"
    condition: "action.type == 'delete'"
    action: "require_approval"
    approvers: ["security-team"]
`;

export const AGENT = { did: 'did:mesh:agent', name: 'data-analyst-agent', organisation: 'did:mesh:organisation' };
export const NOTHING: Detected = {
  labels: [],
  contains_pii: false,
  contains_phi: false,
  contains_card: false,
  contains_secret: false,
};

/** A Monday at noon. */
export const NOW_MS: number = Date.parse('2026-01-05T12:00:00Z');

export const context = (request: GateRequest, facts: Partial<Parameters<typeof contextOf>[1]> = {}): PolicyContext =>
  contextOf(request, { agent: AGENT, nowMs: NOW_MS, detected: NOTHING, ...facts });

export const tool = (name: string, args: object = {}, paths: readonly string[] = []): GateRequest => ({
  action: 'tool_call',
  tool: { name, arguments: args as never, paths },
});

/** A document of these lines after its version. */
export const policy = (body: string, options: Partial<ParsePolicyOptions> = {}): Policy =>
  parsePolicy(`version: "1.0"\n${body}`, { name: 'policy', ...options });

/** Rules as [name, rest of the lines], the rest in flow style. */
export const rules = (...all: readonly string[]): string =>
  `rules:\n${all.map((rule) => `  - { ${rule} }\n`).join('')}`;

export const decide = (
  policies: Policy | readonly Policy[],
  request: GateRequest | PolicyContext,
  options: { readonly mode?: 'certain' | 'possible'; readonly isFree?: (rule: string) => boolean } = {},
): Decision =>
  compilePolicies('rules' in policies ? [policies] : policies).decide('time' in request ? request : context(request), {
    mode: options.mode ?? 'certain',
    isLimitFree: ({ rule }) => options.isFree?.(rule) ?? true,
  });
