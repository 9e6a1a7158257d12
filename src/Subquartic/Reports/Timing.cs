using System.Diagnostics;

namespace Subquartic.Reports;

/// <summary>Least times and fitted exponents.</summary>
internal static class Timing
{
    // Short runs are repeated for so long, and the least time counts: the others were disturbed.
    private static readonly TimeSpan RepeatFor = TimeSpan.FromMilliseconds(300);

    /// <summary>Least time of an action, at least one run.</summary>
    /// <returns>Seconds.</returns>
    public static double LeastSeconds(Action run, CancellationToken cancellation)
    {
        TimeSpan least = TimeSpan.MaxValue;
        long start = Stopwatch.GetTimestamp();
        do
        {
            cancellation.ThrowIfCancellationRequested();
            long begin = Stopwatch.GetTimestamp();
            run();
            TimeSpan time = Stopwatch.GetElapsedTime(begin);
            least = time < least ? time : least;
        }
        while (Stopwatch.GetElapsedTime(start) < RepeatFor);
        return least.TotalSeconds;
    }

    /// <summary>Least-squares slope of log y over log x.</summary>
    public static double Exponent(IReadOnlyCollection<(double X, double Y)> points)
    {
        double meanX = points.Average(p => Math.Log(p.X)), meanY = points.Average(p => Math.Log(p.Y));
        return points.Sum(p => (Math.Log(p.X) - meanX) * (Math.Log(p.Y) - meanY)) / points.Sum(p => (Math.Log(p.X) - meanX) * (Math.Log(p.X) - meanX));
    }
}
