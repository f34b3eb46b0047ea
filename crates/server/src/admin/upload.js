// Shows how far an upload is. Where scripts do not run, the form works as it stands.
"use strict";

function watch() {
  const form = document.getElementById("upload");
  if (!form) {
    return;
  }
  const [file] = form.querySelectorAll("input[type=file]");
  const shown = form.querySelector(".progress");
  const bar = shown.querySelector("progress");
  const said = shown.querySelector("output");
  const begin = form.querySelector("button.main");
  const stop = form.querySelector("[data-cancel]");
  const leave = form.querySelector("a.button");

  function end(text) {
    said.textContent = text;
    bar.hidden = true;
    begin.disabled = false;
    stop.hidden = true;
    leave.hidden = false;
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    shown.hidden = false;
    // What was wrong the last time is over.
    document.querySelector("main > .error")?.remove();
    if (file.files[0].size > Number(form.dataset.limit)) {
      end(form.dataset.tooLarge);
      return;
    }
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      bar.value = loaded / total;
      said.textContent = `${Math.floor((loaded / total) * 100)} % · ${mebibytes(loaded)} / ${mebibytes(total)} MiB`;
    });
    request.upload.addEventListener("load", () => {
      bar.removeAttribute("value");
      said.textContent = form.dataset.checking;
      stop.hidden = true;
    });
    request.addEventListener("load", () => arrived(request, form, file));
    request.addEventListener("error", () => end(form.dataset.brokenOff));
    request.addEventListener("abort", () => end(form.dataset.cancelled));
    stop.onclick = () => request.abort();
    bar.hidden = false;
    bar.value = 0;
    said.textContent = "";
    begin.disabled = true;
    stop.hidden = false;
    leave.hidden = true;
    request.send(new FormData(form));
  });
}

function mebibytes(bytes) {
  return (bytes / (1 << 20)).toFixed(1);
}

// Shows what the server has answered: another page, or this one with what was wrong.
function arrived(request, form, file) {
  if (request.responseURL !== form.action) {
    location.assign(request.responseURL);
    return;
  }
  const page = new DOMParser().parseFromString(request.responseText, "text/html");
  document.title = page.title;
  document.querySelector("main").replaceWith(page.querySelector("main"));
  const again = document.querySelector("#upload input[type=file]");
  if (again) {
    // The package that was chosen stays so.
    again.replaceWith(file);
  }
  scrollTo(0, 0);
  watch();
}

watch();
