using System.Text.Json;
using System.Xml.Linq;

namespace Subquartic.EndToEnd;

public sealed class LimitsTests : IDisposable
{
    private readonly CommandLineProcess _program = new();

    [Theory]
    [InlineData("cost --n 32", "rows", "breakEvenTokens")]
    [InlineData("phase --bits 8", "points", "tokens")]
    [InlineData("hard --tokens 16", "rows", "referenceDegree")]
    [InlineData("errors --range 1 --cases 200 --threads 1", "rows", "certificates")]
    [InlineData("reductions --tokens 512 --tolerance 0.05", "rows", "tokens")]
    [InlineData("chain --n 4 --width 2", "runs", "entry")]
    [InlineData("scaling --max-n 32", "points", "exponent")]
    public void Each_writes_a_table_a_document_and_a_picture(string command, string list, string property)
    {
        string[] arguments = ["limits", .. command.Split(' '), "--picture", "picture.svg"];
        JsonElement json = _program.Succeed([.. arguments, "--json"]).Json();
        Assert.NotEmpty(json.GetProperty(list).EnumerateArray());
        Assert.NotEqual(JsonValueKind.Null, json.GetProperty(property).ValueKind);
        XElement svg = XDocument.Load(_program.At("picture.svg")).Root!;
        Assert.Equal("svg", svg.Name.LocalName);
        Assert.NotEmpty(svg.Descendants(svg.Name.Namespace + "polyline"));
    }

    [Fact]
    public void Tables_say_what_the_documents_say()
    {
        string cost = _program.Succeed("limits", "cost", "--n", "128").Output;
        Assert.Contains("Degree 3, 165 features", cost, StringComparison.Ordinal);
        Assert.Contains("the moments of a head take 11880 bytes, its keys and values 1398080: 117.7 times as much", cost, StringComparison.Ordinal);
        string errors = _program.Succeed("limits", "errors", "--range", "0.5", "--cases", "200", "--threads", "1").Output;
        Assert.Contains("0 of 200 heads break their bound", errors, StringComparison.Ordinal);
    }

    [Fact]
    public void Calibrate_measures_costs_and_keeps_them()
    {
        JsonElement json = _program.Succeed("limits", "calibrate", "--json").Json();
        Assert.InRange(json.GetProperty("costs").GetProperty("list").GetDouble(), 0.5, 10);
        Assert.InRange(json.GetProperty("costs").GetProperty("head").GetDouble(), 5, 4000);
        string file = json.GetProperty("file").GetString()!;
        Assert.Contains("\"tile\":", File.ReadAllText(file), StringComparison.Ordinal);
        if (OperatingSystem.IsLinux())
        {
            Assert.StartsWith(_program.DataFolder, file, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Low_rank_attention_draws_the_same_pictures_within_its_certificate()
    {
        string[] draw = ["generate", "--model", CommandLineProcess.TinyModel, "--class", "3", "--count", "2", "--seed", "5", "--json"];
        JsonElement exact = _program.Succeed([.. draw, "--out", "exact"]).Json();
        JsonElement fast = _program.Succeed([.. draw, "--out", "fast", "--attention", "low-rank", "--tolerance", "1e-2"]).Json();
        Assert.Equal("low-rank", fast.GetProperty("model").GetProperty("attention").GetString());
        JsonElement certificate = fast.GetProperty("certificate");
        Assert.True(certificate.GetProperty("heads").GetInt64() > 0);
        Assert.True(double.IsFinite(certificate.GetProperty("largestBound").GetDouble()));

        // No head of this model meets the criterion at a gain: all is exact, and the tokens are the same.
        Assert.Equal(0, certificate.GetProperty("approximatedHeads").GetInt64());
        Assert.Equal(Tokens(exact), Tokens(fast));

        JsonElement always = _program.Succeed([.. draw, "--out", "always", "--attention", "low-rank", "--tolerance", "1e-2", "--even-if-slower"]).Json();
        Assert.True(always.GetProperty("certificate").GetProperty("approximatedRows").GetInt64() > 0); // the first scales have few keys
        Assert.True(double.IsFinite(always.GetProperty("certificate").GetProperty("largestBound").GetDouble()));

        // The maps of this model are too small for anything to be merged: what is left of certified and audited attention is exact, with its rounding.
        foreach (string strategy in (string[])["certified", "audited"])
        {
            JsonElement other = _program.Succeed([.. draw, "--out", strategy, "--attention", strategy, "--tolerance", "1e-2"]).Json();
            Assert.Equal(strategy, other.GetProperty("certificate").GetProperty("strategy").GetString());
            Assert.Equal(0, other.GetProperty("certificate").GetProperty("auditedRows").GetInt64());
            Assert.InRange(other.GetProperty("certificate").GetProperty("largestBound").GetDouble(), 1e-9, 1e-2);
            Assert.Equal(Tokens(exact), Tokens(other));
        }

        static int[] Tokens(JsonElement json) =>
            [.. json.GetProperty("pictures").EnumerateArray().SelectMany(picture => picture.GetProperty("tokens").EnumerateArray()).Select(token => token.GetInt32())];
    }

    [Theory]
    [InlineData("reductions")]
    [InlineData("chain")]
    public void Help_shows_examples(string command)
    {
        string help = _program.Succeed("limits", command, "--help").Output;
        Assert.Contains($"\n  subquartic limits {command}", help, StringComparison.Ordinal);
        Assert.Contains("--json", help, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("limits chain --n 5", "--n is '5'")]
    [InlineData("limits reductions --tokens 1", "--tokens is '1'")]
    [InlineData("limits errors --cases -1", "--cases is '-1'")]
    public void Usage_errors_exit_with_2(string command, string words)
    {
        CommandResult result = _program.Run(command.Split(' '));
        Assert.Equal(2, result.ExitCode);
        Assert.Contains(words, result.Error, StringComparison.Ordinal);
    }

    public void Dispose() => _program.Dispose();
}
