/**
 * What a policy judges: one thing that somebody wants to do (SPEC "Policies"). Members that are absent are missing, and
 * a rule that needs them fails closed.
 */
import type { JsonObject } from '../encoding/jcs.ts';

/** What the daemon, the proxy and the SDK ask about by themselves; callers of the SDK name others. */
export const ACTION_TYPES = [
  'tool_call',
  'tools_list',
  'resource_read',
  'resources_list',
  'prompt_get',
  'prompts_list',
  'sampling',
  'elicitation',
  'roots_list',
  'mcp_request',
  'peer_call',
  'delegate',
  'handshake',
  'message',
] as const;

export interface PolicyContext {
  /** `type`: one of ACTION_TYPES, or a word of the caller's own, as "export". */
  readonly action: { readonly type: string };
  readonly tool?: {
    /** Names compare canonically: whatever their case, width and invisible characters (`canonicalName`). */
    readonly name: string;
    /** The MCP server, as whoever configured it calls it. */
    readonly server?: string;
    readonly arguments?: JsonObject;
    /** Every form of every path in the arguments: decoded, resolved, and with links followed. Absolute. */
    readonly paths?: readonly string[];
  };
  readonly resource?: { readonly uri: string; readonly scheme?: string; readonly paths?: readonly string[] };
  readonly prompt?: { readonly name: string; readonly arguments?: JsonObject; readonly paths?: readonly string[] };
  /** Of an MCP message that is none of the above. */
  readonly mcp?: { readonly method: string };
  readonly agent: { readonly did: string; readonly name?: string; readonly organisation: string };
  /** The person who answers for the agent. */
  readonly principal?: { readonly did: string };
  readonly peer?: { readonly did: string; readonly organisation: string };
  /** Of the peer, in this daemon's own view. */
  readonly trust?: { readonly score: number };
  readonly delegation?: {
    readonly leaf?: string;
    readonly depth?: number;
    readonly capabilities: readonly string[];
    readonly audience?: string;
  };
  /** What the detectors found in arguments and resource, and what the caller says itself. */
  readonly data?: {
    /** As "pii.email", "secret.aws_key", "card": see `protocol/detect`. */
    readonly labels: readonly string[];
    readonly contains_pii: boolean;
    readonly contains_phi: boolean;
    readonly contains_card: boolean;
    readonly contains_secret: boolean;
    /** Of the arguments, as JSON. */
    readonly bytes?: number;
  };
  /** UTC. */
  readonly time: {
    /** RFC 3339. */
    readonly iso: string;
    /** Seconds since 1970. */
    readonly unix: number;
    readonly hour: number;
    /** 1 Monday to 7 Sunday (ISO 8601). */
    readonly weekday: number;
  };
  /** What whoever configured the daemon or proxy says of where it runs, as {"name": "production"}. */
  readonly environment?: Readonly<Record<string, string>>;
  /** A caller's own facts, for actions of its own. */
  readonly facts?: JsonObject;
}
