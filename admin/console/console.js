// Keeps the page as the server is: whenever something happens, the list is
// fetched anew, but not under the hands of somebody who is filling in a form.
const live = document.getElementById("live");
const desk = document.getElementById("desk");
if (live && desk) {
  let behind = false;
  const busy = () => desk.querySelector("details[open]") || desk.contains(document.activeElement) && document.activeElement.matches("input, select");
  const refresh = () => {
    behind = true;
    if (busy()) return;
    behind = false;
    desk.dispatchEvent(new Event("refresh"));
  };
  desk.addEventListener("focusout", () => setTimeout(() => behind && refresh()));
  desk.addEventListener("toggle", () => setTimeout(() => behind && refresh()), true);
  const stream = new EventSource(live.dataset.stream);
  stream.onopen = () => { live.textContent = "live"; refresh(); };
  stream.onmessage = refresh;
  stream.onerror = () => { live.textContent = "not live, trying again"; };
}
