import type { Reporter, TestModule } from 'vitest/node';
import { SKIPPED_FOR_SHARED, sharedRoot } from './shared-root.ts';

/** Says before vitest's own summary how much was not tested because the shared root is absent. */
export class SharedReporter implements Reporter {
  onTestRunEnd(testModules: readonly TestModule[]): void {
    const groups = testModules.flatMap((testModule) =>
      [...testModule.children.allTests('skipped')].filter((test) => test.name.startsWith(SKIPPED_FOR_SHARED)),
    );
    if (groups.length === 0) return;
    const count = groups.length === 1 ? '1 group' : `${groups.length} groups`;
    console.warn(`\n${count} of tests SKIPPED: their vectors are absent, want "${sharedRoot}" or AGENTMESH_SHARED`);
    for (const group of groups) console.warn(`  ${group.fullName}`);
  }
}
