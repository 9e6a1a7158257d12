using System.CommandLine;
using System.Globalization;
using Subquartic.Reports;

namespace Subquartic.Cli.Verbs;

/// <summary><c>limits chain</c>: what becomes of attention's error in a whole network.</summary>
internal sealed class LimitsChainVerb : LimitsSubcommand
{
    private readonly Option<int> _side = new Option<int>("--n")
    {
        Description = "Side of the last token map, a power of two.",
        HelpName = "side",
        DefaultValueFactory = _ => 16,
    }.Require(value => value is 2 or 4 or 8 or 16 or 32 or 64, "2, 4, 8, 16, 32 or 64");

    private readonly Option<int> _width = new Option<int>("--width")
    {
        Description = "Width of a token, d.",
        HelpName = "channels",
        DefaultValueFactory = _ => 4,
    }.Require(value => value is >= 1 and <= 16, "a whole number, 1 to 16");

    private readonly Option<double> _entry = new Option<double>("--entry")
    {
        Description = "Size of the entries of queries and keys, R.",
        HelpName = "number",
        DefaultValueFactory = _ => 1,
    }.Require(value => value is > 0 and <= 16, "a number above 0, at most 16");

    private readonly Option<double> _tolerance = ToleranceOption("an attention output, as a fraction of the range of the values", 1e-3);

    public LimitsChainVerb()
        : base(
            "chain", "Follows the error of low-rank attention through a small network with continuous tokens, measured and certified, in both ways of execution.",
            "limits chain",
            "limits chain --n 32 --width 8 --entry 0.7 --tolerance 1e-4 --picture chain.svg")
    {
        Add(_side);
        Add(_width);
        Add(_entry);
        Add(_tolerance);
        AddOutput(withKernels: true);
    }

    protected override Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation) => MeasureAsync(
        options, terminal,
        kernels => ChainReport.Measure(kernels, options.GetValue(_side), options.GetValue(_width), options.GetValue(_entry), options.GetValue(_tolerance), cancellation),
        Documents.Default.ChainReport, report => report.Picture(), Show);

    private static void Show(ChainReport report, Terminal terminal)
    {
        foreach (ChainRun run in report.Runs)
        {
            terminal.Say(string.Create(CultureInfo.InvariantCulture, $"{run.Mode}, tolerance {report.Tolerance}:"));
            Table(
                terminal, ["stage", "tokens", "attention", "added", "measured error", "certified error"],
                run.Rows.Select(row => (IEnumerable<object>)[
                    row.Stage, row.Tokens, row.Path is { } path ? $"{path}" : "", row.Path is null ? "" : row.Added, row.Measured, row.Certified]));
            Table(
                terminal, ["tolerance", "measured error of the image", "certified"],
                run.Curve.Select(point => (IEnumerable<object>)[point.Tolerance, point.Measured, point.Certified]));
        }
    }
}
