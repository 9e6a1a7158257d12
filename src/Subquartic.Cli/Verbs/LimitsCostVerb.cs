using System.CommandLine;
using System.Globalization;
using Subquartic.Criteria;
using Subquartic.Reports;

namespace Subquartic.Cli.Verbs;

/// <summary><c>limits cost</c>: the calculator.</summary>
internal sealed class LimitsCostVerb : LimitsSubcommand
{
    private readonly Option<int> _side = new Option<int>("--n")
    {
        Description = "Largest side of the last token map; the table has all powers of two up to it.",
        HelpName = "side",
        DefaultValueFactory = _ => 128,
    }.Require(value => value is >= 2 and <= 2048, "a whole number, 2 to 2048");

    private readonly Option<int> _width = new Option<int>("--width")
    {
        Description = "Width of a head, d.",
        HelpName = "channels",
        DefaultValueFactory = _ => 8,
    }.Require(value => value is >= 1 and <= 1024, "a whole number, 1 to 1024");

    private readonly Option<double> _range = new Option<double>("--range")
    {
        Description = "Largest absolute score after centring, B.",
        HelpName = "score",
        DefaultValueFactory = _ => 0.5,
    }.Require(value => value is >= 0 and <= 1000, "a number, 0 to 1000");

    private readonly Option<double> _tolerance = ToleranceOption("an output, as a fraction of the range of the values", 1e-3);

    public LimitsCostVerb()
        : base(
            "cost", "Calculates degree, features and multiply-adds of exact and low-rank attention over all scales, and where they cross.",
            "limits cost",
            "limits cost --n 512 --width 16 --range 2 --tolerance 1e-2 --picture cost.svg")
    {
        Add(_side);
        Add(_width);
        Add(_range);
        Add(_tolerance);
        AddOutput();
    }

    protected override Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation)
    {
        CostReport report = CostReport.Create(
            options.GetValue(_side), options.GetValue(_width), options.GetValue(_range), options.GetValue(_tolerance));
        Write(report, Documents.Default.CostReport, report.Picture, () => Show(report, terminal), options, terminal);
        return Task.FromResult(ExitCode.Success);
    }

    private static void Show(CostReport report, Terminal terminal)
    {
        terminal.Say(report.Degree is { } degree
            ? $"Degree {degree}, {Number(report.Features!.Value)} features, output error {Number(report.OutputError!.Value)} of the range of V."
            : string.Create(CultureInfo.InvariantCulture, $"No polynomial of degree up to {ExpPolynomial.MaxDegree} serves scores up to {report.HalfRange}."));
        Table(
            terminal, ["n", "tokens", "pairs, recomputed", "pairs, cached", "pairs, raster", "exact", "low-rank", "regime"],
            report.Rows.Select(row => (IEnumerable<object>)[
                row.Side, row.Tokens, row.RecomputePairs, row.Pairs, row.RasterPairs, row.Exact, row.LowRank, row.Regime]));
        terminal.Say("The other stages, with the sizes of the released VQ-VAE, and the memory of one head:");
        Table(
            terminal, ["n", "feature map", "decoder convolutions", "decoder attention", "keys and values", "moments"],
            report.Rows.Select(row => (IEnumerable<object>)[
                row.Side, row.FeatureMap, row.DecoderConvolutions, row.DecoderAttention, Units.Bytes((long)row.KeyValueBytes),
                double.IsFinite(row.MomentBytes) ? Units.Bytes((long)row.MomentBytes) : "-"]));
        if (report.Features is not null)
        {
            CostRow last = report.Rows[^1];
            terminal.Say(string.Create(
                CultureInfo.InvariantCulture,
                $"At n = {last.Side} the moments of a head take {last.MomentBytes:0} bytes, its keys and values {last.KeyValueBytes:0}: {last.KeyValueBytes / last.MomentBytes:0.0} times as much."));
            terminal.Say(
                $"Low-rank attention needs fewer multiply-adds from {Math.Ceiling(report.BreakEvenTokens!.Value):0} tokens in one call, " +
                (report.BreakEvenSide is { } side ? $"over all scales from n = {side}." : "over all scales for no n in reach."));
        }

        terminal.Say($"The theorem promises n^(2 + o(1)) for scores well below log n = {Number(report.ThresholdB)}.");
    }
}
