using System.CommandLine;
using Subquartic.Criteria;
using Subquartic.Reports;

namespace Subquartic.Cli.Verbs;

/// <summary><c>limits errors</c>: measured against certified error.</summary>
internal sealed class LimitsErrorsVerb : LimitsSubcommand
{
    private readonly Option<double> _range = new Option<double>("--range")
    {
        Description = "Largest absolute score, B.",
        HelpName = "score",
        DefaultValueFactory = _ => 2,
    }.Require(value => value is > 0 and <= ExpPolynomial.MaxHalfRange, $"a number above 0, at most {ExpPolynomial.MaxHalfRange}");

    private readonly Option<int> _cases = new Option<int>("--cases")
    {
        Description = "Also compute so many small random and hostile heads by low-rank attention, and compare each error with its certificate. A thousand take a second at most.",
        HelpName = "number",
        DefaultValueFactory = _ => 0,
    }.Require(value => value is >= 0 and <= 10_000_000, "a whole number, 0 to 10000000");

    public LimitsErrorsVerb()
        : base(
            "errors", "Measures the error of attention by polynomials over the degree, beside its certified bound.",
            "limits errors",
            "limits errors --range 4 --picture errors.svg",
            "limits errors --cases 100000 --threads 1")
    {
        Add(_range);
        Add(_cases);
        AddOutput(withKernels: true);
    }

    protected override Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation)
    {
        PolynomialReport report = terminal.During("Measuring", () => PolynomialReport.Measure(options.GetValue(_range)) with
        {
            Certificates = options.GetValue(_cases) is > 0 and int cases ? CertificateReport.Measure(CreateKernels(options), cases, cancellation) : null,
        });
        Write(report, Documents.Default.PolynomialReport, report.Picture, () => Show(report, terminal), options, terminal);
        return Task.FromResult(ExitCode.Success);
    }

    private static void Show(PolynomialReport report, Terminal terminal)
    {
        Table(
            terminal, ["degree", "error of the weights", "largest output error", "certified bound"],
            report.Rows.Select(row => (IEnumerable<object>)[row.Degree, row.PolynomialError, row.Measured, row.Bound]));
        if (report.Certificates is { } certificates)
        {
            Table(
                terminal, ["heads", "tried", "approximated", "largest error/bound", "median bound/error"],
                certificates.Rows.Select(row => (IEnumerable<object>)[row.Kind, row.Cases, row.Approximated, row.LargestErrorOverBound, row.MedianBoundOverError]));
            terminal.Say($"{certificates.Violations} of {certificates.Cases} heads break their bound; {certificates.Approximated} are approximated, with a median bound/error of {Number(certificates.MedianBoundOverError)}.");
        }
    }
}
