// The Live page: the app's own component, with this page in the place of Python.

import mount from "./fercore.mjs";
import { chosen, keep, settings } from "./site.mjs";

const { runs, runtime, sample } = settings();
const parentElement = document.getElementById("live");

function show() {
  const { run, head } = chosen({ runs });
  const data = {
    chosen: run?.name ?? runs[0]?.name,
    refusal: run ? "" : (runs[0]?.refusal ?? "there is none"),
    run: run?.heads[head] ?? null,
    heads: Object.keys(run?.heads ?? {}),
    runs: runs.map(({ name, refusal }) => ({ name, refusal })),
    runtime,
    sample,
    serverless: true,
  };
  mount({ parentElement, data, setTriggerValue });
}

/** What Python would be told; sittings stay on this page. */
function setTriggerValue(event, value) {
  if (event === "run") keep({ run: value, head: runs.find(({ name }) => name === value).head });
  if (event === "head") keep({ head: value });
  if (event === "run" || event === "head") show();
}

show();
