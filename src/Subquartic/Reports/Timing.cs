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

    /// <summary>Slope over the last three points: the exponent of growth where starting the work no longer costs more than the work.</summary>
    public static double LateSlope<T>(IReadOnlyCollection<T> points, Func<T, double> x, Func<T, double> y) => Slope([.. points.TakeLast(3)], x, y);

    /// <summary>Least-squares slope of log y over log x: the exponent of growth.</summary>
    public static double Slope<T>(IReadOnlyCollection<T> points, Func<T, double> x, Func<T, double> y)
    {
        double meanX = points.Average(point => Math.Log(x(point))), meanY = points.Average(point => Math.Log(y(point)));
        return points.Sum(point => (Math.Log(x(point)) - meanX) * (Math.Log(y(point)) - meanY))
            / points.Sum(point => (Math.Log(x(point)) - meanX) * (Math.Log(x(point)) - meanX));
    }
}
