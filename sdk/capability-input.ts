import { type Capability, parseCapability } from '../protocol/index.ts';

/** "read:reports/q3", also spelled "read:reports:q3", or with the resources to which it is limited. */
export type CapabilityInput = string | { readonly can: string; readonly res?: readonly string[] };

/** As the wire has it. Errors: malformed. */
export function capabilityOf(input: CapabilityInput): Capability {
  if (typeof input === 'string') return { can: parseCapability(input) };
  const can = parseCapability(input.can);
  return input.res === undefined ? { can } : { can, res: [...input.res] };
}

export const capabilitiesOf = (inputs: readonly CapabilityInput[]): Capability[] => inputs.map(capabilityOf);
