// A refusal names the object and the stage that refused it, in the words of
// docs/vault-format.md, "Test vectors".

export class Refused extends Error {
  constructor(object, stage, what, line) {
    super(`${object} ${stage}: ${line ? `line ${line}: ` : ''}${what}`);
    this.object = object;
    this.stage = stage;
    this.line = line;
  }
}

// within gives refusals thrown as plain strings of f an object and a line.
export function within(object, stage, line, f) {
  try {
    return f();
  } catch (e) {
    if (e instanceof Refused) throw e;
    if (e instanceof NotCanonical) throw new Refused(object, stage, e.message, line);
    throw e;
  }
}

export class NotCanonical extends Error {}
