() => {
  // A photo that is pasted anywhere on the page is taken as if it had been dropped on it.
  document.addEventListener("paste", (event) => {
    const photo = [...(event.clipboardData?.files ?? [])].find((f) => f.type.startsWith("image/"));
    const input = document.querySelector("#photo input[type=file]");
    if (!photo || !input) return;
    const files = new DataTransfer();
    files.items.add(photo);
    input.files = files.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    event.preventDefault();
  });
  document.documentElement.lang = "en";
  // What Gradio leaves out for those who don't see the page: radio buttons that belong together share a
  // name, so that arrow keys go from one to the next, and a label; one button's label is untranslated.
  const complete = () => {
    for (const [id, label] of [["version", "Version"], ["beside", "Compare with"]]) {
      const group = document.getElementById(id);
      group?.setAttribute("role", "radiogroup");
      group?.setAttribute("aria-label", label);
      group?.querySelectorAll("input").forEach((input) => { input.name = id; });
    }
    document.querySelectorAll('[aria-label="common.upload"]').forEach((button) => {
      button.ariaLabel = "Upload others";
    });
  };
  complete();
  new MutationObserver(complete).observe(document.body, { childList: true, subtree: true });
}
