using Subquartic.Reports.Analysis;

namespace Subquartic.Tests.Reports.Analysis;

public class HistogramTests
{
    [Fact]
    public void Counts_are_those_of_the_final_bins_whatever_came_first()
    {
        var random = new Random(3);
        double[] values = [.. Enumerable.Range(0, 5000).Select(i => (random.NextDouble() - 0.5) * Math.Pow(2, i % 11)), 0, -0.0];
        Histogram rising = Fill(values.OrderBy(Math.Abs)), falling = Fill(values.OrderByDescending(Math.Abs));
        Assert.Equal(rising.BinWidth, falling.BinWidth);
        Assert.Equal(rising.Counts.ToArray(), falling.Counts.ToArray());
        for (int i = 0; i < 2 * Histogram.Side; i++)
        {
            double from = (i - Histogram.Side) * rising.BinWidth;
            Assert.Equal(values.Count(value => value >= from && value < from + rising.BinWidth), rising.Counts[i]);
        }

        Assert.True(values.Max(Math.Abs) >= rising.BinWidth * Histogram.Side / 2); // no wider than needed
    }

    [Fact]
    public void Sums_of_histograms_are_histograms_of_all()
    {
        var random = new Random(4);
        double[] small = [.. Enumerable.Range(0, 300).Select(_ => random.NextDouble() - 0.5)], large = [.. small.Select(value => 100 * value)];
        Histogram sum = Fill(small), all = Fill(small.Concat(large));
        sum.Add(Fill(large));
        Assert.Equal((all.BinWidth, 600), (sum.BinWidth, sum.Counts.ToArray().Sum()));
        Assert.Equal(all.Counts.ToArray(), sum.Counts.ToArray());
    }

    private static Histogram Fill(IEnumerable<double> values)
    {
        var histogram = new Histogram();
        foreach (double value in values)
        {
            histogram.Reserve(Math.Abs(value));
            histogram.Add(value);
        }

        return histogram;
    }
}
