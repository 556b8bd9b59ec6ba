/** What the target gives away wherever it can: of the shape of a token of GitHub's, and nobody's. */
export const SECRET = ['ghp', 'A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8'].join('_');
