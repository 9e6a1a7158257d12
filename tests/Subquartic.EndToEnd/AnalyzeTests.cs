using System.Text.Json;
using System.Xml.Linq;

namespace Subquartic.EndToEnd;

public sealed class AnalyzeTests : IDisposable
{
    private readonly CommandLineProcess _program = new();

    [Fact]
    public void Reports_a_model_as_a_page_as_text_and_as_json()
    {
        CommandResult result = _program.Succeed("analyze", "--model", CommandLineProcess.TinyModel, "--images", "2", "--class", "3", "--seed", "4", "--n", "8,64", "--tolerance", "1e-2", "--out", "report", "--json");
        Assert.Equal(["report/analysis.html", "report/analysis.json", "report/analysis.md"], _program.Files());
        JsonElement json = result.Json();
        Assert.Equal(JsonSerializer.Serialize(json), JsonSerializer.Serialize(JsonDocument.Parse(File.ReadAllText(_program.At("report", "analysis.json"))).RootElement));
        JsonElement run = json.GetProperty("run");
        Assert.Equal((2, 4, 1e-2), (run.GetProperty("images").GetInt32(), run.GetProperty("seed").GetInt32(), run.GetProperty("tolerance").GetDouble()));
        JsonElement[] heads = [.. json.GetProperty("heads").EnumerateArray()];
        Assert.Equal(6 * 2 * 2, heads.Length);
        Assert.All(heads, head =>
        {
            Assert.InRange(head.GetProperty("score").GetDouble(), 0, head.GetProperty("scoreBound").GetDouble() * (1 + 1e-5));
            Assert.Contains(head.GetProperty("scoreVerdict").GetString(), new[] { "Holds", "Unknown", "Fails" });
            Assert.True(head.GetProperty("finite").GetProperty("exact").GetDouble() > 0);
        });
        Assert.Equal([8, 64], json.GetProperty("sizes").EnumerateArray().Select(size => size.GetProperty("side").GetInt32()));
        Assert.Equal(
            ["certified", "audited"], json.GetProperty("operators").EnumerateArray().Select(run => run.GetProperty("strategy").GetString()).Distinct());
        JsonElement agreement = json.GetProperty("agreement")[0];
        Assert.Equal(2 * 130, agreement.GetProperty("tokens").GetInt32());
        Assert.Equal(agreement.GetProperty("calls").GetInt32(), agreement.GetProperty("boundsHeld").GetInt32());

        string page = File.ReadAllText(_program.At("report", "analysis.html"));
        Assert.InRange(page.Length, 10_000, 600_000);
        Assert.Equal("html", XDocument.Parse(page[page.IndexOf('\n', StringComparison.Ordinal)..]).Root!.Name);
        // Further passes over a map are measured with it.
        JsonElement passes = _program.Succeed("analyze", "--model", CommandLineProcess.TinyModel, "--images", "1", "--class", "3", "--n", "8", "--passes", "2", "--out", "passes", "--json").Json();
        Assert.Equal(6 * 2 * 2, passes.GetProperty("heads").GetArrayLength());
        Assert.Equal(agreement.GetProperty("calls").GetInt32() / 2 + 5 * 2, passes.GetProperty("agreement")[0].GetProperty("calls").GetInt32());
        Assert.StartsWith("# Attention of tiny\n", File.ReadAllText(_program.At("report", "analysis.md")), StringComparison.Ordinal);
    }

    public void Dispose() => _program.Dispose();
}
