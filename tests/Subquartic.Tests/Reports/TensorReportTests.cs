using Subquartic.Numerics.Kernels;
using Subquartic.Reports;

namespace Subquartic.Tests.Reports;

public class TensorReportTests
{
    [Fact]
    public void Tensor_attention_solves_what_ordinary_attention_does_not_and_the_fast_one_refuses()
    {
        TensorReport report = TensorReport.Measure(KernelSet.Best, 64);
        Assert.All(report.Exponents, e =>
        {
            Assert.Equal(e.Order, e.ExactWork, 1e-9);
            Assert.Equal(1, e.FastWork, 1e-9);
        });
        Assert.All(report.Points, p => Assert.InRange(p.Difference, 0, p.ErrorBound + 1e-5));
        Assert.All(report.Errors, row => Assert.InRange(row.Measured, 0, row.Bound));
        Assert.All(report.Errors, row => Assert.InRange(row.GradientMeasured, 0, 1));
        Assert.True(report.Errors.Count >= 10 && report.Errors[^1].Measured < 1e-4);
        Assert.All(report.Ranks, row => Assert.Equal(row.Predicted, row.Measured));
        Assert.All(report.Tasks, task =>
        {
            Assert.Equal((1, task.Instances), (task.Exact, task.Refused));
            Assert.InRange(task.Ordinary, 0, 0.9);
        });
        Assert.Equal((1, 0), (report.TradeOff[0].Exact, report.TradeOff[0].Approximated));
        Assert.Contains(report.TradeOff, row => row.Approximated == report.Tasks[0].Instances && row.Exact < 0.9 && row.Fast == row.Exact);
        Assert.Contains("Tensor attention", report.Picture(), StringComparison.Ordinal);
    }
}
