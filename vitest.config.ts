import { defineConfig } from 'vitest/config';
import { SharedReporter } from './test/house/shared-reporter.ts';

export default defineConfig({
  // The package's own name leads to its sources: see "exports" in package.json.
  ssr: { resolve: { conditions: ['agentmesh-source'], externalConditions: ['agentmesh-source'] } },
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/soak/**'],
    pool: 'forks', // native addons, signals and process.env are a test file's own
    maxWorkers: 2, // end-to-end tests start three daemons each and measure time; more at once starve them
    testTimeout: 20_000,
    hookTimeout: 20_000,
    teardownTimeout: 5_000,
    reporters: [new SharedReporter(), 'default'],
  },
});
