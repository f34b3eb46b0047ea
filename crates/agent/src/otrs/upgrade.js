// Shows what is under way as it happens. Where scripts do not run, the page is loaded again instead.
"use strict";

const live = document.getElementById("live");
if (live) {
  const known = { busy: live.dataset.busy === "true", operation: Number(live.dataset.operation) };
  const steps = [...live.querySelectorAll(".steps li")];
  const bar = live.querySelector("progress");
  const said = live.querySelector("output");
  const log = live.querySelector(".log ol");
  if (log) {
    log.scrollTop = log.scrollHeight;
  }
  listen();

  function listen() {
    const events = new EventSource(live.dataset.events);
    events.onmessage = ({ data }) => {
      const now = JSON.parse(data);
      // Another operation began, or this one has ended: the page looks different then.
      if (now.busy !== known.busy || now.operation !== known.operation) {
        events.close();
        location.reload();
        return;
      }
      if (now.busy) {
        show(now);
      }
    };
    // A server before this one may answer with an error of its own for a while: browsers give up then.
    events.onerror = () => {
      if (events.readyState === EventSource.CLOSED) {
        setTimeout(listen, 3000);
      }
    };
  }

  function show(now) {
    const at = steps.findIndex((step) => step.dataset.stages.split(" ").includes(now.stage));
    steps.forEach((step, number) => {
      step.classList.toggle("done", number < at);
      step.classList.toggle("now", number === at);
    });
    bar.value = now.progress;
    said.textContent = now.message;
    add(now);
  }

  function add({ from, lines }) {
    if (!log) {
      return;
    }
    const follows = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
    lines.slice(Math.max(0, log.children.length - from)).forEach((line) => {
      const item = document.createElement("li");
      item.textContent = line;
      log.append(item);
    });
    if (follows) {
      log.scrollTop = log.scrollHeight;
    }
  }
}
