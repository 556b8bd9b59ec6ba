import { defineConfig, mergeConfig } from 'vitest/config';
import usual from './vitest.config.ts';

// What takes minutes: 100,000 inputs a parser, 200 kills. One file at a time, as memory and time are measured.
export default mergeConfig(
  { ...usual, test: { ...usual.test, include: [], exclude: [] } },
  defineConfig({
    test: {
      include: ['test/soak/**/*.test.ts'],
      fileParallelism: false,
      testTimeout: 30 * 60_000,
      hookTimeout: 60_000,
    },
  }),
);
