// Run by `stockade build` in a project's folder: makes a component of src/agent.js.
// Arguments: the world, the file to write, the features to leave out.
import { writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const [worldName, output, ...disableFeatures] = process.argv.slice(2);

// An error that is no failure of the contract ends the call. The engine tells its message and not its
// place, so the exports are wrapped: the place is printed before the error goes on.
const entry = `
import * as project from "../src/agent.js";

const told = (exported) => {
  if (exported === undefined) return undefined;
  const wrapped = Object.create(exported);
  for (const name of ["describe", "handle", "check"]) {
    if (typeof exported[name] !== "function") continue;
    wrapped[name] = (...values) => {
      try {
        return exported[name](...values);
      } catch (error) {
        if (error instanceof Error) console.error(String(error) + " at " + error.stack.split("\\n")[0]);
        throw error;
      }
    };
  }
  return wrapped;
};

export const agent = told(project.agent);
export const health = told(project.health);
`;

try {
  await writeFile("target/entry.js", entry);
  const { component } = await componentize({ sourcePath: "target/entry.js", witPath: "wit", worldName, disableFeatures });
  await writeFile(output, component);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
