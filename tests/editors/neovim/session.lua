-- The porter's way in Neovim, with its own LSP client: finding, code action, saved file.
-- Run by test_neovim.py with `nvim --headless -l`; prints steps, ends with 1 and the reason where one fails.
local server, python, root, path, class = unpack(_G.arg)
local TIMEOUT = 30000

local function step(text)
  io.stdout:write(text .. "\n")
end

local function wait_for(what, holds)
  assert(vim.wait(TIMEOUT, holds, 50), "waited in vain for " .. what)
end

local function finding(buffer)
  for _, diagnostic in ipairs(vim.diagnostic.get(buffer)) do
    if diagnostic.code == "DIT101" then
      return diagnostic
    end
  end
end

local function session()
  vim.cmd.edit(root .. "/" .. path)
  vim.bo.filetype = "python"
  local buffer = vim.api.nvim_get_current_buf()
  local id = assert(vim.lsp.start({
    name = "ditproof",
    cmd = { server, "serve" },
    root_dir = root,
    init_options = { settings = { python = python, trusted = true } },
  }), "the server did not start")
  local client = assert(vim.lsp.get_client_by_id(id))
  wait_for("the server to initialize", function() return client.initialized end)
  step("started")

  wait_for("DIT101", function() return finding(buffer) ~= nil end)
  local found = finding(buffer)
  local line = vim.api.nvim_buf_get_lines(buffer, found.lnum, found.lnum + 1, true)[1]
  assert(line:find("class " .. class, 1, true), "DIT101 is not at the class but at: " .. line)
  step("finding: " .. found.message)

  vim.api.nvim_win_set_cursor(0, { found.lnum + 1, found.col })
  vim.lsp.buf.code_action({
    apply = true, -- the one action that the filter leaves
    filter = function(action) return action.kind == "quickfix" and action.title:find("EntryClass") ~= nil end,
  })
  local wanted = { ["EntryClass = " .. class] = true, ["EntryClass = [" .. class .. "]"] = true }
  wait_for("the code action to change the buffer", function()
    for _, text in ipairs(vim.api.nvim_buf_get_lines(buffer, 0, -1, true)) do
      if wanted[text] then return true end
    end
    return false
  end)
  step("code action applied")

  wait_for("DIT101 to go", function() return finding(buffer) == nil end)
  step("finding gone")
  vim.cmd.write()

  client:stop()
  wait_for("the server to stop", function() return client:is_stopped() end)
  step("stopped")
end

local ok, problem = xpcall(session, debug.traceback)
if not ok then
  io.stderr:write(tostring(problem) .. "\n")
  os.exit(1)
end
