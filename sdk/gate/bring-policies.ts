import type { PolicyRef, PolicySource } from '../../protocol/policy/index.ts';

/** Gives policies to the daemon, which knows each by its digest from then on. Errors: policy_invalid, the daemon's. */
export async function bringPolicies(
  post: (path: string, body: object) => Promise<unknown>,
  policies: readonly PolicySource[],
): Promise<readonly PolicyRef[]> {
  const brought: PolicyRef[] = [];
  for (const { name, files } of policies)
    brought.push(((await post('/v1/policies', { name, files })) as { policy: PolicyRef }).policy);
  return brought;
}
